"""From graph to loops: the generic lowering and the tuned schedules on top of it."""

from .lower import lower
from .weights import weight_values

__all__ = ["lower", "weight_values"]
