"""From graph to loops: the generic lowering and the tuned schedules on top of it."""

from .footprint import Footprint, footprint
from .lower import lower

__all__ = ["Footprint", "footprint", "lower"]
