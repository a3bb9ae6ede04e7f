"""Whether everything that can be seen of the system can be seen: see `__main__`."""
