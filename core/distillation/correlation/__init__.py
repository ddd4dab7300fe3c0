"""Compute TCD and SCD (Eq. 7-10): a PyTorch reference and compiled backends for CPU and CUDA."""
