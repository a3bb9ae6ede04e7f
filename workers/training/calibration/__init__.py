"""`rheostat calibrate`: what each method costs and how far it strays on one checkpoint."""
