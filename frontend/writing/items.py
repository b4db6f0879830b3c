"""What text is made of before it is text: calls and loops over tensors, and the blocks that hold them.

A *leaf* is a value that stands in the text: an argument, a number in a label, a column of a loop. Where equal structure
is found, leaves that differ become parameters, and `Expr` takes their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...compiler.types import TensorType


@dataclass(eq=False, slots=True)
class Var:
    """A tensor; the same object wherever it is made and used."""

    type: TensorType
    is_batched: bool = False
    """Whether its first size is the open batch."""


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression of parameters in place of a value."""

    text: str


Leaf = Any
"""A value of the language as Python has it, or an `Expr`."""
Label = tuple["str | int | Expr", ...]
"""Text and numbers of a path, in turn: `layer1.0` is ("layer", 1, ".", 0)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """An argument by name; `is_default` where the callee would take the same without it, `named` in the text."""

    name: str
    value: Leaf
    default: Any = ...
    named: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Body:
    """What a block or a turn of a loop does: `outs` are computed from `params` by `items`."""

    params: tuple[Var, ...]
    items: tuple[Item, ...]
    outs: tuple[Var, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """A block of the text;"""

    name: str
    body: Body
    settings: tuple[Slot, ...]
    """Hyperparameters: `default` is what they are unless given."""


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """The branches of a condition that is known at run time only. They read the tensors around them."""

    yes: Body
    no: Body


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A layer, operator, block or infix sign and its tensors.

    `label` is None where there are no parameters, and empty where they are named by the place of the call. An infix
    sign has a number beside it in the slot `left` or `right`. The first operand of a choice is the condition; its
    branches read the others.
    """

    callee: str | Block | Choice
    operands: tuple[Var, ...]
    results: tuple[Var, ...]
    slots: tuple[Slot, ...] = ()
    label: Label | None = None
    is_infix: bool = False

    @property
    def name(self) -> str:
        """What stands before the bracket."""
        if isinstance(self.callee, Choice):
            return "if"
        return self.callee if isinstance(self.callee, str) else self.callee.name


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """A row of equal turns. Each takes the carried tensors of the one before, then what all have in common.

    `columns` hold, by the name of a variable, its value in each turn. The first of `operands` are those that the first
    turn gets in place of carried ones; `results` are the carried ones of the last turn. `asked` says at run time
    whether another turn follows, of the same parameters.
    """

    body: Body
    operands: tuple[Var, ...]
    results: tuple[Var, ...]
    columns: tuple[Slot, ...]
    turns: int
    asked: Body | None = None


Item = Call | Loop


@dataclass(eq=False)
class Program:
    """All of a text: blocks in the order of their definition, and the net's body."""

    body: Body
    blocks: list[Block] = field(default_factory=list[Block])


def has_expression(value: Leaf) -> bool:
    """Whether a value is an expression, or a list with one."""
    return isinstance(value, Expr) or (isinstance(value, tuple) and any(map(has_expression, value)))


def split_label(text: str) -> Label:
    """A path as text and numbers."""
    return tuple(int(p) if p.isdigit() and (p == "0" or p[0] != "0") else p for p in re.split(r"(\d+)", text) if p)


def join_label(label: Label) -> str:
    """The path that a label of text and numbers is."""
    return "".join(str(p) for p in label)


def leaves(item: Item) -> Iterator[tuple[str, Leaf]]:
    """The values in an item that aren't expressions, each with a word for what it is."""
    if isinstance(item, Call):
        for part in item.label or ():
            if isinstance(part, int):
                yield "#", part
        for slot in item.slots:
            if not isinstance(slot.value, Expr):
                yield slot.name, slot.value
        return
    for column in item.columns:
        if not isinstance(column.value, Expr):
            yield column.name, column.value
    for inner in item.body.items:
        yield from leaves(inner)


def with_leaves(item: Item, values: Iterator[Leaf]) -> Item:
    """The item with other leaves, in their order."""
    if isinstance(item, Call):
        label = item.label and tuple(next(values) if isinstance(part, int) else part for part in item.label)
        return replace(item, label=label, slots=_with_values(item.slots, values))
    columns = _with_values(item.columns, values)
    items = tuple(with_leaves(inner, values) for inner in item.body.items)
    return replace(item, columns=columns, body=replace(item.body, items=items))


def _with_values(slots: Sequence[Slot], values: Iterator[Leaf]) -> tuple[Slot, ...]:
    return tuple(s if isinstance(s.value, Expr) else replace(s, value=next(values)) for s in slots)


def key(item: Item) -> object:
    """Equal for items that differ in leaves, labels and tensors only."""
    if isinstance(item, Call):
        slots = tuple((s.name, s.value if isinstance(s.value, Expr) else None) for s in item.slots)
        return item.callee, slots, len(item.results), len(item.operands), item.label is None
    numbers: dict[Var, int] = {}
    rows: list[object] = []
    for var in item.body.params:
        numbers[var] = len(numbers)
    for inner in item.body.items:
        uses = tuple(numbers[v] for v in inner.operands)
        rows.append((key(inner), text_of(inner), uses))
        for var in inner.results:
            numbers[var] = len(numbers)
    columns = tuple((c.name, c.value if isinstance(c.value, Expr) else None) for c in item.columns)
    return "loop", item.asked, tuple(rows), columns, tuple(numbers[v] for v in item.body.outs), len(item.operands)


def text_of(item: Item) -> object:
    """What a label says besides numbers."""
    if isinstance(item, Loop):
        return None
    return item.label and tuple(0 if isinstance(p, int) else p for p in item.label)


def size(item: Item) -> int:
    """Number of statements, loosely."""
    return 1 if isinstance(item, Call) else 1 + sum(map(size, item.body.items))
