"""What a schedule is, and which one gets an operation: the first that serves it, or those of the algorithm chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InternalError
from ..graph.ir import Value
from ..targets.target import Target
from .group import Group
from .kernel import Scheduled
from .scan import schedule_scan

Schedule = Callable[[Group, Target, int], tuple[Scheduled, ...]]
"""Group, target and number of threads to kernels; to none where it doesn't serve the group."""


@dataclass(frozen=True)
class Schedules:
    """The schedules of a backend."""

    in_order: tuple[Schedule, ...]
    """Tried one after the other until one returns kernels."""
    by_algorithm: Mapping[str, tuple[Schedule, ...]] = field(default_factory=dict)
    """Those tried instead for an operation that is to be computed by an algorithm of this name."""

    def kernels(self, group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
        """The kernels of a group. `InternalError` if no schedule serves it, or none by the algorithm chosen for it."""
        if group.anchor.name == "scan":
            return schedule_scan(group, target, lambda inner: self.kernels(inner, target, 1))
        for schedule in self._candidates(group):
            if kernels := schedule(group, target, threads):
                _check_written(group, kernels)
                return kernels
        how = "".join(f" by {op.algorithm}" for op in group.members if op.algorithm is not None)
        raise InternalError(f"there is no schedule for {group.label} of {group.operation.results[0].type}{how}")

    def _candidates(self, group: Group) -> tuple[Schedule, ...]:
        chosen = {op: op.algorithm for op in group.members if op.algorithm is not None}
        if not chosen:
            return self.in_order
        algorithm = chosen.pop(group.anchor, None)
        # Only an anchor has a choice; a chosen algorithm that nobody would obey must not be passed over.
        return self.by_algorithm.get(algorithm.name, ()) if algorithm is not None and not chosen else ()


def _check_written(group: Group, kernels: Sequence[Scheduled]) -> None:
    """Raise `InternalError` unless the kernels take all results of a group: what nobody writes holds old numbers."""
    taken = {argument for each in kernels for argument in each.arguments if isinstance(argument, Value)}
    if not taken.issuperset(group.operation.results):
        raise InternalError(f"the schedule of {group.label} of {group.operation.results[0].type} leaves it unwritten")
