"""What `rheostat train jlt` settles: clean latents against velocities."""
