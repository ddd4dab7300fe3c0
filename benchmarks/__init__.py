"""Measure the project's speed and memory: ``python -m benchmarks.run``."""
