"""What gateway and workers say to each other. Imports neither torch nor a web framework."""
