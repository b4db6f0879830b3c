"""Groups that differ only in the values they read and write are scheduled once: deep networks repeat a few of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from ..graph.alike import likeness
from ..graph.ir import Operation, Value
from ..graph.keys import attributes_key
from ..types import TensorType
from .group import Group
from .kernel import Scheduled, values_of, with_values


@dataclass(frozen=True, slots=True)
class _Reusable:
    """Kernels, and where their arguments stand among the operands and results of the operation and the buffers."""

    kernels: tuple[Scheduled, ...]
    places: tuple[tuple[tuple[int, ...], ...], ...]
    buffers: tuple[TensorType, ...]
    """What the kernels hand on to each other: each use has its own."""

    def applied(self, operation: Operation) -> tuple[Scheduled, ...]:
        values = (*operation.operands, *operation.results, *map(Value, self.buffers))
        return tuple(
            replace(
                scheduled,
                arguments=tuple(
                    with_values(argument, [values[p] for p in of])
                    for argument, of in zip(scheduled.arguments, places, strict=True)
                ),
            )
            for scheduled, places in zip(self.kernels, self.places, strict=True)
        )


class ReusedKernels:
    """The kernels of the groups that were scheduled before."""

    def __init__(self, schedule: Callable[[Group], tuple[Scheduled, ...]]) -> None:
        self._schedule = schedule
        self._known: dict[Hashable, _Reusable] = {}
        self._alike: dict[Hashable, tuple[_Reusable, Group]] = {}
        """By identities, which tell less and take less time; with the groups that have them."""

    def kernels(self, group: Group) -> tuple[Scheduled, ...]:
        """The kernels of a group."""
        near = _alike_key(group)
        if near in self._alike:
            return self._alike[near][0].applied(group.operation)
        key = group_key(group)
        known = self._known.get(key)
        if known is None:
            kernels = self._schedule(group)
            known = self._known[key] = _reusable(group.operation, kernels)
        else:
            kernels = known.applied(group.operation)
        if near is not None:
            self._alike[near] = known, group
        return kernels


def _alike_key(group: Group) -> Hashable:
    """Equal only for groups with the same key; None for one that reads constants, which has none of these."""
    op, operands = group.operation, group.operation.operands
    if len(group.outer) < len(operands):
        return None
    static = [v in group.static for v in operands]
    overwritten = [(id(new), id(old)) for new, old in group.in_place.items()]
    return likeness(op), tuple(map(operands.index, operands)), *static, *overwritten


def group_key(group: Group) -> Hashable:
    """Equal for groups that have the same kernels: all that a schedule can see of one, its values numbered."""
    numbers: dict[Value, int] = {}

    def number(value: Value) -> int:
        return numbers.setdefault(group.outer.get(value, value), len(numbers))

    members = tuple(
        (
            op.name,
            op.algorithm,
            tuple(map(number, op.operands)),
            tuple((number(r), r.type) for r in op.results),
            attributes_key(op.attributes),
        )
        for op in group.members
    )
    outside = tuple((number(v), v.type, outer.type, outer in group.static) for v, outer in group.outer.items())
    constants = tuple((number(v), v.type, repr(n)) for v, n in group.constants.items())
    in_place = tuple((number(v), number(old)) for v, old in group.in_place.items())
    operation = tuple(map(number, (*group.operation.operands, *group.results)))
    written = tuple(r.type for r in group.operation.results)
    return members, outside, constants, in_place, operation, written


def _reusable(operation: Operation, kernels: tuple[Scheduled, ...]) -> _Reusable:
    given = (*operation.operands, *operation.results)
    places = {v: i for i, v in enumerate(given)}
    buffers: dict[Value, int] = {}
    arguments = [[values_of(a) for a in scheduled.arguments] for scheduled in kernels]
    for value in (v for row in arguments for of in row for v in of if v not in places):
        buffers.setdefault(value, len(given) + len(buffers))
    places |= buffers
    found = tuple(tuple(tuple(places[v] for v in of) for of in row) for row in arguments)
    return _Reusable(kernels, found, tuple(v.type for v in buffers))
