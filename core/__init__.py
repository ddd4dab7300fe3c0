"""STGCN teachers and students in PyTorch: data, network, losses, training and export.

Turns sensor readings and a road graph into trained, distilled and exported forecasters.
Knows nothing of searching: it imports neither ray, optuna nor hpo.
"""
