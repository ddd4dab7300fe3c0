"""Prepare a dataset for training: fill gaps, scale, build the graph kernel, cut windows.

Does not shuffle or train.
"""
