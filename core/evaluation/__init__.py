"""Measure how accurate and how fast a network is: forecasts, errors, parameters, FLOPs, latency.

Does not train.
"""
