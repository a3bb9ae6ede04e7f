"""Triton kernels, each beside the torch code that gives the same values. Chosen at run time."""

from workers.kernels.gibbs import gibbs_step

__all__ = ["gibbs_step"]
