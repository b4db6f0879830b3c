"""Decisions of schedules that can be taken otherwise: all alternatives compute the same, at different speeds.

A schedule asks its group (`Group.choose`): a name, its own decision, and the alternatives. Usually the answer is its
own decision, and the alternatives aren't even listed. `NetworkChoices` hold other answers for a network, kernel by
kernel; `Survey` notes what is asked. A kernel is named by its problem (`problem_of`): operators, shapes, types and
attributes, without the numbers that weights and scales have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..graph.ir import Graph, Operation, Value
from ..types import TensorType
from .group import Alternatives, Group, Picker, Setting


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting in place of the default that a schedule had when both were measured."""

    default: Setting
    setting: Setting


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided about one kernel: `Chosen` by the name of the decision."""

    decisions: Mapping[str, Chosen]

    def pick(self, name: str, default: Setting, alternatives: Alternatives) -> Setting:
        """The chosen setting; the default where nothing was chosen, or it was chosen beside another default.

        A setting that is none of the alternatives isn't taken either: the schedule has changed.
        """
        chosen = self.decisions.get(name)
        if chosen is None or chosen.default != default or chosen.setting not in alternatives():
            return default
        return chosen.setting


NOTHING = Choice({})


class NetworkChoices:
    """The choices for a network: `Choice` by problem."""

    def __init__(self, by_problem: Mapping[str, Choice]) -> None:
        self.by_problem = by_problem

    def __len__(self) -> int:
        return len(self.by_problem)

    def of(self, problem: str, label: str) -> Picker | None:
        """What decides about a kernel; None leaves all to the schedule."""
        return self.by_problem.get(problem)

    def called(self, problem: str, calls: int) -> None:
        """The next so many calls of the module are of this problem."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a schedule asked: its default, and all that it could do, the most promising first."""

    default: Setting
    alternatives: tuple[Setting, ...]

    @property
    def others(self) -> tuple[Setting, ...]:
        """The alternatives to the default."""
        return tuple(s for s in self.alternatives if s != self.default)


@dataclass(slots=True)
class Kernel:
    """A problem of a network that was surveyed."""

    label: str
    """Its operators and the shape of its result."""
    calls: int = 0
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])


class Survey(NetworkChoices):
    """NetworkChoices that note what schedules ask, and which calls belong to which problem."""

    def __init__(self, by_problem: Mapping[str, Choice]) -> None:
        super().__init__(by_problem)
        self.kernels: dict[str, Kernel] = {}
        self.calls: list[str] = []
        """The problem of each call, in order."""

    def of(self, problem: str, label: str) -> Picker:
        """What decides, and notes it."""
        kernel = self.kernels.setdefault(problem, Kernel(label))
        return _Noting(kernel, self.by_problem.get(problem, NOTHING))

    def called(self, problem: str, calls: int) -> None:
        """Note it."""
        self.calls += [problem] * calls
        self.kernels[problem].calls += calls


@dataclass(frozen=True, slots=True)
class _Noting:
    kernel: Kernel
    choice: Choice

    def pick(self, name: str, default: Setting, alternatives: Alternatives) -> Setting:
        found = tuple(dict.fromkeys(alternatives()))
        known = self.kernel.decisions.get(name)
        if known is not None:  # one of several kernels of a group
            found = tuple(dict.fromkeys((*known.alternatives, *found)))
        self.kernel.decisions[name] = Decision(default if known is None else known.default, found)
        return self.choice.pick(name, default, alternatives)


# ---- names ----------------------------------------------------------------------------------------------------------


def problem_of(group: Group) -> str:
    """The name of the problem that a group's kernels solve: equal for groups whose kernels differ in numbers only."""
    numbers: dict[Value, int] = {}

    def number(value: Value) -> int:
        return numbers.setdefault(group.outer.get(value, value), len(numbers))

    outside = [(number(v), _form(v.type), _form(outer.type), outer in group.static) for v, outer in group.outer.items()]
    written = [_form(r.type) for r in group.operation.results]
    return _hash(outside, written, [_facts(op, number) for op in group.members])


def label_of(group: Group) -> str:
    """What people call a problem."""
    return f"{group.label} {'x'.join(map(str, group.operation.results[0].type.shape))}".rstrip()


def problem_before_layout(group: Group, purpose: str) -> str:
    """The name of a problem about which a pass decides, before values have places."""
    return _hash(purpose, problem_of(group))


def network_key(graph: Graph) -> str:
    """A name for what a graph computes, its weights and scales aside."""
    return _hash(_graph_facts(graph))


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _form(type_: TensorType) -> tuple[object, ...]:
    """A type without its scales."""
    return type_.dtype.value, type_.shape, type_.margins


def _graph_facts(graph: Graph) -> object:
    numbers: dict[Value, int] = {}

    def number(value: Value) -> int:
        return numbers.setdefault(value, len(numbers))

    inputs = [(number(v), _form(v.type)) for v in graph.inputs]
    operations = [_facts(op, number) for op in graph.operations]
    return inputs, operations, [number(v) for v in graph.outputs], graph.attributes.get("updates", ())


def _facts(op: Operation, number: Callable[[Value], int]) -> object:
    attributes = [(name, _plain(value)) for name, value in op.attributes.items()]
    operands, results = map(number, op.operands), ((number(r), _form(r.type)) for r in op.results)
    body = _graph_facts(op.body) if op.body is not None else None
    return op.name, str(op.algorithm), tuple(operands), tuple(results), attributes, body


def _plain(value: object) -> object:
    """What of an attribute decides about loops: of floats and arrays only what they are."""
    match value:
        case np.ndarray():
            return value.shape, value.dtype.str
        case float():
            return "float"
        case Graph():
            return _graph_facts(value)
        case Mapping():
            return [(name, _plain(item)) for name, item in value.items()]
        case tuple() | list():
            return tuple(map(_plain, value))
        case _:
            return str(value)
