"""Clean latents against velocities: one network trained on both, all else equal."""
