"""Growing lists: joins of which each takes one tensor more than the one before, as in a DenseNet.

So that rows of them become loops, the tensors are kept in a list: `y = [a, b]`, then `y + [c]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...compiler.types import DType, TensorType
from .items import Body, Call, Item, Slot, Var

LIST, APPEND = "[]=", "+[]"
"""In place of a layer: the list of the operands; the list that is the first operand with the second at its end."""
LEAST = 3
"""Fewest joins in a row that share a list."""
_NO_TENSOR = TensorType(DType.F32, ())


def with_lists(body: Body) -> Body:
    """The body with lists where joins grow; the same body if none do."""
    chains: dict[tuple[tuple[Var, ...], object], list[Call]] = {}
    for item in body.items:
        if isinstance(item, Call) and item.callee == "concat" and len(item.operands) > 1:
            chain = chains.pop((item.operands[:-1], _settings(item.slots)), [])
            chains[item.operands, _settings(item.slots)] = [*chain, item]
    places = {item: (chain, at) for chain in chains.values() if len(chain) >= LEAST for at, item in enumerate(chain)}
    if not places:
        return body
    items: list[Item] = []
    lists: dict[Call, Var] = {}
    for item in body.items:
        if isinstance(item, Call) and item in places:
            items += _listed(item, *places[item], lists)
        else:
            items.append(item)
    return replace(body, items=tuple(items))


def _settings(slots: Sequence[Slot]) -> object:
    return tuple((slot.name, repr(slot.value)) for slot in slots)


def _listed(item: Call, chain: Sequence[Call], at: int, lists: dict[Call, Var]) -> Iterator[Call]:
    """A join of a list, behind what makes the list of that of the join before."""
    lists[item] = Var(_NO_TENSOR)
    if at == 0:
        yield Call(LIST, item.operands, (lists[item],))
    else:
        yield Call(APPEND, (lists[chain[at - 1]], item.operands[-1]), (lists[item],))
    yield replace(item, operands=(lists[item],))
