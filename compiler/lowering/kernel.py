"""What a schedule gives back: a kernel and where its arguments come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

from ..graph.ir import Value
from ..loops.ir import Buffer, Expr, Kernel, Let, Stmt, Var
from .group import Group


@dataclass(frozen=True)
class PackingStep:
    """An operator with its attributes (hashable), applied to a weight when it is loaded."""

    operator: str
    attributes: tuple[tuple[str, Any], ...]


def packing_step(operator: str, **attributes: Any) -> PackingStep:
    """Make a step."""
    return PackingStep(operator, tuple(attributes.items()))


@dataclass(frozen=True)
class Packed:
    """A weight that is brought into another form when it is loaded."""

    value: Value
    steps: tuple[PackingStep, ...]
    beside: tuple[Argument, ...] = ()
    """Further operands of the last step."""


Argument = Value | Packed


def values_of(argument: Argument) -> tuple[Value, ...]:
    """The values that an argument is made of."""
    if not isinstance(argument, Packed):
        return (argument,)
    return (argument.value, *chain.from_iterable(map(values_of, argument.beside)))


def with_values(argument: Argument, values: Sequence[Value]) -> Argument:
    """The argument made of other values."""
    return _made_of(argument, iter(values))


def _made_of(argument: Argument, values: Iterator[Value]) -> Argument:
    value = next(values)
    if not isinstance(argument, Packed):
        return value
    return replace(argument, value=value, beside=tuple([_made_of(each, values) for each in argument.beside]))


@dataclass(frozen=True)
class Scheduled:
    """A kernel (still without a name) with one argument for each parameter; the last one is the result."""

    kernel: Kernel
    arguments: tuple[Argument, ...]
    multiplies: int = 1
    """Its part of the operation's multiplications, beside the parts of the other kernels; 0 if it only prepares or
    gathers."""


class Parameters:
    """A kernel's parameters and their arguments, in order."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.arguments: list[Argument] = []

    def add(self, buffer: Buffer, argument: Argument) -> Buffer:
        """Append a parameter."""
        self.buffers.append(buffer)
        self.arguments.append(argument)
        return buffer

    def add_epilogue(
        self, group: Group, y: Buffer, shape: Callable[[Value], tuple[int, ...]], without: Collection[Value] = ()
    ) -> dict[Value, Buffer]:
        """Parameters for what the epilogue reads, seen in `shape`; what the result overwrites is read from `y`."""
        extras: dict[Value, Buffer] = {}
        for value in (v for v in group.epilogue_inputs if v not in without):
            if value in group.in_place.values():
                extras[value] = y
            else:
                extras[value] = self.add(Buffer(f"e{len(extras)}", value.type.dtype, shape(value)), group.outer[value])
        return extras

    def scheduled(self, body: Sequence[Stmt], *, multiplies: int = 1) -> Scheduled:
        """The kernel with this body."""
        return Scheduled(Kernel("", tuple(self.buffers), tuple(body)), tuple(self.arguments), multiplies)


class Names:
    """Fresh names for one kernel, the same on every run."""

    def __init__(self) -> None:
        self._counters: dict[str, count[int]] = {}

    def fresh(self, stem: str) -> str:
        """`stem`, then stem1, stem2 ..."""
        n = next(self._counters.setdefault(stem, count()))
        return f"{stem}{n}" if n else stem


def let(block: list[Stmt], name: str, value: Expr) -> Var:
    """Append a `Let` to a block and return the variable."""
    statement = Let(name, value)
    block.append(statement)
    return statement.var
