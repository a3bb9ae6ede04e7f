"""The workers: models, the engine, and the processes that run them."""
