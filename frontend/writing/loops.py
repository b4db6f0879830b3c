"""Rows of equal stretches, of which each reads what the one before gave, become loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .items import Body, Item, Loop, Slot, Var, key, leaves, size, text_of, with_leaves
from .leaves import Column, abstracted
from .naming import taken_names

MAX_PERIOD = 8
"""Most items of a turn, those of inner loops counted: longer ones should be blocks first."""

Source = tuple[str, object]
"""Where an operand comes from: ("inner", place), ("carried", place) or ("outer", tensor)."""


@dataclass(frozen=True, slots=True)
class Row:
    """Equal stretches side by side; `first` holds what the first turn takes in place of what is carried."""

    start: int
    period: int
    turns: int
    first: dict[tuple[int, int], Var]
    outer: tuple[Var, ...]
    saved: int

    def applied(self, body: Body) -> Body:
        """The body with a loop in place of the row."""
        n, start = self.period, self.start
        stretches = [body.items[start + t * n : start + (t + 1) * n] for t in range(self.turns)]
        words = [word for item in stretches[0] for word, _ in leaves(item)]
        values = [[leaf for item in stretch for _, leaf in leaves(item)] for stretch in stretches]
        columns = [Column(word, tuple(v[i] for v in values)) for i, word in enumerate(words)]
        found, settings = abstracted(columns, (), taken_names(stretches[0]))
        rest = iter(found)
        places = list(self.first)
        params = (*self.first.values(), *self.outer)
        last = stretches[-1]
        turn = Body(
            params,
            tuple(with_leaves(item, rest) for item in stretches[0]),
            tuple(stretches[0][at].results[place] for at, place in places),
        )
        results = tuple(last[at].results[place] for at, place in places)
        loop = Loop(
            _copied(turn),
            params,
            results,
            tuple(Slot(s.name, s.values) for s in settings),
            self.turns,
        )
        end = start + n * self.turns
        return replace(body, items=(*body.items[:start], loop, *body.items[end:]))


def _copied(body: Body) -> Body:
    """The body with tensors of its own, so that none stands inside a loop and outside."""
    new: dict[Var, Var] = {}
    params = tuple(new.setdefault(v, Var(v.type, v.is_batched)) for v in body.params)
    items: list[Item] = []
    for item in body.items:
        operands = tuple(new[v] for v in item.operands)
        results = tuple(new.setdefault(v, Var(v.type, v.is_batched)) for v in item.results)
        items.append(replace(item, operands=operands, results=results))
    return Body(params, tuple(items), tuple(new[v] for v in body.outs))


def best_loop(body: Body) -> Row | None:
    """The row that saves most among those of the shortest turns."""
    keys = [hash((key(item), text_of(item))) for item in body.items]
    sizes = [size(item) for item in body.items]
    makers = {v: (at, place) for at, item in enumerate(body.items) for place, v in enumerate(item.results)}
    readers = _readers(body)
    best: Row | None = None
    for period in range(1, MAX_PERIOD + 1):
        at = 0
        while at + 2 * period <= len(keys):
            if keys[at : at + period] != keys[at + period : at + 2 * period]:
                at += 1
                continue
            weight = sum(sizes[at : at + period])
            row = _row(body, at, period, keys, makers, readers) if weight <= MAX_PERIOD else None
            if row is not None and (best is None or row.saved > best.saved):
                best = row
            at += period * (row.turns - 1) if row is not None else 1
        if best is not None:
            break  # what has few items a turn first: rows of rows come later
    return best


def _readers(body: Body) -> dict[Var, list[int]]:
    """The items that read each tensor; those that the body gives are read behind all."""
    readers: dict[Var, list[int]] = {}
    for at, item in enumerate(body.items):
        for var in item.operands:
            readers.setdefault(var, []).append(at)
    for var in body.outs:
        readers.setdefault(var, []).append(len(body.items))
    return readers


def _row(
    body: Body,
    start: int,
    period: int,
    keys: Sequence[int],
    makers: dict[Var, tuple[int, int]],
    readers: dict[Var, list[int]],
) -> Row | None:
    """The longest row from a place on; None if there is none worth a loop."""
    pattern = _sources(body, start + period, period, start, makers)
    if pattern is None or not any(kind == "carried" for kind, _ in pattern):
        return None
    carried = dict.fromkeys(p for kind, p in pattern if kind == "carried")
    first = _first(body, start, period, pattern, makers)
    if first is None:
        return None
    turns = 1
    while keys[start + turns * period : start + (turns + 1) * period] == keys[start : start + period]:
        here = start + turns * period
        if _sources(body, here, period, here - period, makers) != pattern:
            break
        if not _is_private(body, here - period, period, set(carried), readers):
            break
        turns += 1
    while turns > 1 and not _gives(body, start + (turns - 1) * period, period, set(carried), readers):
        turns -= 1
    weight = sum(size(i) for i in body.items[start : start + period])
    saved = (turns - 1) * weight
    if turns < 2 or saved < (1 if _is_block(body.items[start]) else 3):
        return None
    outer = tuple(dict.fromkeys(v for kind, v in pattern if kind == "outer" and isinstance(v, Var)))
    taken = [*first.values(), *outer]
    if len(set(taken)) != len(taken):
        return None  # a tensor that plays two roles in the first turn
    return Row(start, period, turns, {p: first[p] for p in carried if isinstance(p, tuple)}, outer, saved)


def _is_block(item: Item) -> bool:
    return isinstance(item, Loop) or not isinstance(item.callee, str)


def _sources(
    body: Body, start: int, period: int, before: int, makers: dict[Var, tuple[int, int]]
) -> list[Source] | None:
    """Where the operands of a turn come from."""
    found: list[Source] = []
    for item in body.items[start : start + period]:
        for var in item.operands:
            at, place = makers.get(var, (-1, 0))
            if start <= at < start + period:
                found.append(("inner", (at - start, place)))
            elif before <= at < before + period:
                found.append(("carried", (at - before, place)))
            elif at < before:
                found.append(("outer", var))
            else:
                return None
    return found


def _first(
    body: Body, start: int, period: int, pattern: Sequence[Source], makers: dict[Var, tuple[int, int]]
) -> dict[tuple[int, int], Var] | None:
    """What the first turn takes in place of carried tensors; None if it differs from the others."""
    first: dict[tuple[int, int], Var] = {}
    operands = [v for item in body.items[start : start + period] for v in item.operands]
    for (kind, where), var in zip(pattern, operands, strict=True):
        at, place = makers.get(var, (-1, 0))
        is_inner = start <= at < start + period
        if kind == "inner":
            if not is_inner or (at - start, place) != where:
                return None
        elif is_inner or (kind == "outer" and var is not where):
            return None
        elif kind == "carried":
            assert isinstance(where, tuple)
            if first.setdefault(where, var) is not var:
                return None
    return first


def _is_private(body: Body, start: int, period: int, carried: set[object], readers: dict[Var, list[int]]) -> bool:
    """Whether a turn's tensors are read by itself and the next turn only."""
    return all(
        reader < start + (2 if (at, place) in carried else 1) * period
        for at in range(period)
        for place, var in enumerate(body.items[start + at].results)
        for reader in readers.get(var, ())
    )


def _gives(body: Body, start: int, period: int, carried: set[object], readers: dict[Var, list[int]]) -> bool:
    """Whether all that is read behind the last turn is carried."""
    return all(
        (at, place) in carried or reader < start + period
        for at in range(period)
        for place, var in enumerate(body.items[start + at].results)
        for reader in readers.get(var, ())
    )
