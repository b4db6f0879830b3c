"""Which calls of a body are statements of their own, and which stand inside others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .items import Body, Call, Choice, Expr, Item, Loop, Var
from .proposals import SLICE
from .terms import same_value

LONG = 700
"""Longest expression that is written into another one."""


@dataclass(eq=False)
class Plan:
    """Which calls are statements of their own, and which are written into the one that reads them."""

    statements: list[Item]
    inlined: dict[Var, Call]
    last: dict[Var, int]
    """The last statement that reads each tensor; behind all statements where the body gives it."""

    @staticmethod
    def of(body: Body, kept: Collection[Var]) -> Plan:
        """The plan of a body; what is `kept` has a name of its own."""
        counts = Counter(v for item in body.items for v in item.operands)
        counts.update(body.outs)
        readers: dict[Var, Item] = {}
        for item in body.items:
            for var in item.operands:
                readers[var] = item
        lengths: dict[Item, int] = {}
        inlined: dict[Var, Call] = {}
        for item in body.items:
            lengths[item] = _weight(item) + sum(lengths[inlined[v]] for v in item.operands if v in inlined)
            if isinstance(item, Loop) or isinstance(item.callee, Choice) or len(item.results) != 1:
                continue
            (var,) = item.results
            reader = readers.get(var)
            if counts[var] != 1 or var in kept:
                continue
            if reader is None and len(body.outs) > 1 and (_depth(item, inlined) > 1 or lengths[item] > 60):
                continue
            if reader is None or _fits(item, var, reader, lengths[item], inlined):
                inlined[var] = item
        statements = [i for i in body.items if isinstance(i, Loop) or not any(v in inlined for v in i.results)]
        places: dict[Item, int] = {item: at for at, item in enumerate(statements)}
        last: dict[Var, int] = {}
        for item in reversed(body.items):
            if item not in places:
                reader = readers.get(item.results[0])
                places[item] = len(statements) if reader is None else places[reader]
            for var in item.operands:
                last[var] = max(last.get(var, -1), places[item])
        last.update(dict.fromkeys(body.outs, len(statements)))
        return Plan(statements, inlined, last)


def _fits(item: Call, var: Var, reader: Item, length: int, inlined: Mapping[Var, Call]) -> bool:
    """Whether an expression may be written into the one that reads it."""
    if isinstance(reader, Loop):
        return False
    if isinstance(reader.callee, Choice):
        is_condition = reader.operands[0] is var and reader.operands.count(var) == 1
        return is_condition and length < 100 and _depth(item, inlined) <= 3
    if not item.operands:
        return length < 100
    if reader.is_infix or reader.callee == SLICE:
        return _depth(item, inlined) <= 1 and length < 70
    if reader.operands[0] is var and reader.operands.count(var) == 1:
        return length < LONG and _depth(item, inlined) < 16
    return _depth(item, inlined) <= 2 and length < 60


def _depth(item: Call, inlined: Mapping[Var, Call]) -> int:
    """How many calls stand in each other."""
    depth = 1
    while item.operands and item.operands[0] in inlined:
        item = inlined[item.operands[0]]
        depth += 1
    return depth


def _weight(item: Item) -> int:
    """About how many characters an item takes."""
    if isinstance(item, Loop):
        return 0
    label = sum(len(str(p)) for p in item.label or ())
    shown = (s for s in item.slots if isinstance(s.value, Expr) or not same_value(s.value, s.default))
    return len(item.name) + label + sum(len(s.name) * s.named + len(str(s.value)) + 4 for s in shown) + 6
