"""TCD and SCD (Eq. 7-10): the reference in PyTorch, and compiled backends for CPU and CUDA."""
