"""The search for distilled and pruned STGCN students, on Ray Tune and Optuna.

Turns a search space and a dataset into trial records and exported students. The network, its
losses and its training live in ``core``; nothing here computes a gradient.
"""
