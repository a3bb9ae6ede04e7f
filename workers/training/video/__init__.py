"""`wan-tiny`: what moves, how it is measured, and how the reference video checkpoint is trained."""
