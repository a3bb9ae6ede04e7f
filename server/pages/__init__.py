"""Static pages the gateway serves."""
