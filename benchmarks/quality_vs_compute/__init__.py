"""What a picture loses for the compute it is spared: our methods and released peers on the same pairs."""
