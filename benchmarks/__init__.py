"""What the project's speed and memory are, measured: ``python -m benchmarks.run``."""
