"""What a clip loses for the compute it is spared; see `__main__`."""
