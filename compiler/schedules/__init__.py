"""From graph to loops: the generic lowering and the tuned schedules on top of it."""

from .lower import lower

__all__ = ["lower"]
