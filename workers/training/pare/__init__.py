"""PARE: prune a Wan transformer's heads and neurons, distil it, and train the router of its blocks."""
