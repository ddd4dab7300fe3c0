"""From a dataset to what a network trains on: filled gaps, z-scores, windows, graph kernel."""
