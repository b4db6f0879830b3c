"""From graph to loops, as far as all backends do it alike.

lower       the driver: operations to calls, values to places (memory, barriers, state, guards, weights)
schedule    what a schedule is, and which one gets an operation
group       what a schedule sees: an operation or a fused group, as an anchor and its epilogue
choices     decisions of schedules that were taken otherwise, because that was measured to be faster
generic     the schedule that serves every operation; margins, elements, extremum, loops and kernel are its parts
packing     the weights region, filled
footprint   how much memory a graph will take
"""

from .footprint import Footprint, footprint
from .lower import lower
from .schedule import Schedule, Schedules

__all__ = ["Footprint", "Schedule", "Schedules", "footprint", "lower"]
