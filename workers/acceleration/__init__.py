"""Methods that spend less than full compute: one file a method, chosen by name."""

from workers.acceleration.registry import Methods

__all__ = ["Methods"]
