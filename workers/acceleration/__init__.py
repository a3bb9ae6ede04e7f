"""Methods that spend less than full compute: one file a method, chosen by name."""

from workers.acceleration.registry import build_stack

__all__ = ["build_stack"]
