"""Samplers for discrete diffusion held against exact laws: see `__main__`."""
