"""The order in which a text makes its parameters, and gives its states their next values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .items import Block, Body, Call, Expr, Item, Leaf, Loop, Program
from .plan import Plan

Known = Mapping[str, Leaf]
"""Values of variables: in loops that stand in loops, they say how many turns there are."""


def order(program: Program, callee: str = "param") -> list[int]:
    """For each call of a function that the text makes, which it is among those of the body without blocks and loops.

    They differ where a call is written into the one that reads it.
    """
    return list(_Order(callee).body(program.body, {}, 0, returns=True))


@dataclass(frozen=True, slots=True)
class _Order:
    callee: str

    def body(self, body: Body, known: Known, first: int, *, returns: bool) -> Iterator[int]:
        """Those of a body; `first` are made before it."""
        places: dict[Item, int] = {}
        for item in body.items:
            places[item] = first
            first += self.count(item, known)
        plan = Plan.of(body, {} if returns else dict.fromkeys(body.outs))
        for item in plan.statements:
            yield from self.item(item, known, plan, places)
        for var in body.outs:
            if var in plan.inlined:
                yield from self.item(plan.inlined[var], known, plan, places)

    def item(self, item: Item, known: Known, plan: Plan, places: Mapping[Item, int]) -> Iterator[int]:
        """Those of a statement, and of what is written into it."""
        at = places[item]
        if isinstance(item, Loop):
            for inside in _turns(item, known):
                yield from self.body(item.body, inside, at, returns=False)
                at += self.total(item.body, inside)
            return
        for var in item.operands:
            if var in plan.inlined:
                yield from self.item(plan.inlined[var], known, plan, places)
        if isinstance(item.callee, Block):
            yield from self.body(item.callee.body, _inside(item, known), at, returns=True)
        elif item.callee == self.callee:
            yield at

    def count(self, item: Item, known: Known) -> int:
        """How many an item makes."""
        if isinstance(item, Loop):
            return sum(self.total(item.body, inside) for inside in _turns(item, known))
        if isinstance(item.callee, Block):
            return self.total(item.callee.body, _inside(item, known))
        return int(item.callee == self.callee)  # branches make none

    def total(self, body: Body, known: Known) -> int:
        """How many a body makes."""
        return sum(self.count(item, known) for item in body.items)


def _inside(call: Call, known: Known) -> Known:
    """The variables of a block that is called."""
    return {slot.name: _value(slot.value, known) for slot in call.slots}


def _turns(loop: Loop, known: Known) -> Iterator[Known]:
    """The variables in each turn of a loop."""
    columns = {column.name: _value(column.value, known) for column in loop.columns}
    rows = [column for column in columns.values() if isinstance(column, tuple)]
    for turn in range(len(rows[0]) if rows else loop.turns):
        yield {**known, **{n: c[turn] for n, c in columns.items() if isinstance(c, tuple)}}


def _value(value: Leaf, known: Known) -> Leaf:
    return known.get(value.text, value) if isinstance(value, Expr) else value
