"""The batch as a size of the text: what differs between a graph for one sample and that for two is written with `N`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .items import Body, Call, Expr, Item, Slot, Var


class FixedError(Exception):
    """The two graphs differ in more than numbers that grow with the batch."""


def with_batch(one: Body, two: Body) -> Body:
    """The body for one sample, with `N` in the arguments that are others in the body for two.

    Raises `FixedError` where the bodies don't have the same calls.
    """
    pairs: dict[Var, Var] = {}
    _pair(pairs, one.params, two.params)
    if len(one.items) != len(two.items):
        raise FixedError
    items = tuple(_item(a, b, pairs) for a, b in zip(one.items, two.items, strict=True))
    _pair(pairs, one.outs, two.outs)
    return replace(one, items=items)


def _item(one: Item, two: Item, pairs: dict[Var, Var]) -> Item:
    if not isinstance(one, Call) or not isinstance(two, Call):
        raise FixedError
    if one.callee != two.callee or one.label != two.label or len(one.slots) != len(two.slots):
        raise FixedError
    _pair(pairs, one.operands, two.operands)
    _pair(pairs, one.results, two.results)
    return replace(one, slots=tuple(_slots(one, two)))


def _slots(one: Call, two: Call) -> Iterator[Slot]:
    for a, b in zip(one.slots, two.slots, strict=True):
        if a.name != b.name:
            raise FixedError
        yield replace(a, value=_value(a.value, b.value))


def _value(one: Any, two: Any) -> Any:
    if type(one) is type(two) and repr(one) == repr(two):
        return one
    if type(one) is int and two == 2 * one:
        return Expr("N" if one == 1 else f"{one} * N")
    if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
        return tuple(_value(a, b) for a, b in zip(one, two, strict=True))
    raise FixedError


def _pair(pairs: dict[Var, Var], one: tuple[Var, ...], two: tuple[Var, ...]) -> None:
    for a, b in zip(one, two, strict=False):
        a.is_batched = a.type.shape[:1] == (1,) and b.type.shape[:1] == (2,)
    if len(one) != len(two) or any(pairs.setdefault(a, b) is not b for a, b in zip(one, two, strict=True)):
        raise FixedError
