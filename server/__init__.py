"""The gateway and the command line: HTTP in, jobs out. Imports neither torch nor the workers."""
