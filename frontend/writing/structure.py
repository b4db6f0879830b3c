"""Repeated structure: equal stretches of calls become blocks, rows of them loops.

Stretches are compared up to their leaves (`items.leaves`). The largest saving comes first, until there is none. Where
parameters have names, a block is a whole scope of them: all that begins with one path. So blocks are those of whoever
wrote the network.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from .items import (
    Block,
    Body,
    Call,
    Expr,
    Item,
    Label,
    Loop,
    Program,
    Slot,
    Var,
    has_expression,
    join_label,
    key,
    leaves,
    size,
    split_label,
    with_leaves,
)
from .leaves import Column, Setting, abstracted
from .loops import best_loop
from .naming import block_name, taken_names

LONGEST = 80
"""Most items of a block."""
FEW = 3
"""Arguments of a call that cost nothing."""
_OUTER = 1 << 20
"""From here on numbers stand for tensors from outside."""
COUNTED = 12
"""Statements of a stretch that count as saved, at most: so that blocks are small, and those of blocks come later."""
MAX_TENSORS = 8
"""Most tensors that a block takes, and gives."""


@dataclass(frozen=True, slots=True)
class _Repeat:
    """Equal stretches: where they begin, how long they are, the paths that their labels begin with."""

    starts: tuple[int, ...]
    length: int
    prefixes: tuple[tuple[str, ...] | None, ...]
    saved: float


def structured(body: Body, *, is_named: bool) -> Program:
    """The same with blocks and loops."""
    program = Program(body)
    while True:
        repeat, row = _best_repeat(program.body, is_named), best_loop(program.body)
        if repeat is not None and (row is None or repeat.saved >= row.saved):
            changed = _with_block(program, repeat)
        elif row is not None:
            changed = row.applied(program.body)
        else:
            return program
        program.body = changed


# ---- blocks ---------------------------------------------------------------------------------------------------------


class _Facts:
    """What is asked about the items of a body again and again."""

    def __init__(self, body: Body, *, is_named: bool) -> None:
        self.items = body.items
        self.sizes = [size(item) for item in body.items]
        self.uses = _uses(body)
        self.ends = [max((self.uses.get(v, -1) for v in item.results), default=-1) for item in body.items]
        """The last item that reads a result of each item."""
        self.scopes = _Scopes(body.items) if is_named else None
        self.leaves = [tuple(repr(v) for word, v in leaves(item) if word != "#") for item in body.items]

    def outs(self, start: int, length: int) -> list[tuple[int, int]]:
        """Which results of a stretch are read behind it, by item and place."""
        end = start + length
        return [
            (at - start, place)
            for at in range(start, end)
            if self.ends[at] >= end
            for place, var in enumerate(self.items[at].results)
            if self.uses.get(var, -1) >= end
        ]

    def arguments(self, starts: Sequence[int], length: int) -> float:
        """How much the arguments of a call cost: what differs between stretches, beyond a few."""
        different: set[tuple[str, ...]] = set()
        for at in range(length):
            rows = [self.leaves[start + at] for start in starts]
            if any(row != rows[0] for row in rows):
                different.update(c for c in zip(*rows, strict=True) if any(v != c[0] for v in c))
        return max(len(different) - FEW, 0) / 2


def _best_repeat(body: Body, is_named: bool) -> _Repeat | None:
    facts = _Facts(body, is_named=is_named)
    heap: list[tuple[int, int, int, tuple[int, ...]]] = []
    for (length, _), places in _groups(body.items).items():
        weight = sum(facts.sizes[places[0] : places[0] + length])
        heap.append((-(len(places) - 1) * min(weight - 1, COUNTED), -length, places[0], tuple(places)))
    heapq.heapify(heap)
    best: _Repeat | None = None
    while heap:
        bound, length, _, starts = heapq.heappop(heap)
        least = best.saved if best is not None else 0
        if -bound - 1 <= least:
            break
        found = _refined(facts, starts, -length, least)
        if found is not None and (best is None or found.saved > best.saved):
            best = found
    return best


def _groups(items: Sequence[Item]) -> dict[tuple[int, int], list[int]]:
    """Where stretches of the same structure begin, by their length and a hash."""
    keys = [hash(key(item)) for item in items]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for start in range(len(items)):
        numbers: dict[Var, int] = {}
        outer: dict[Var, int] = {}
        h = 0
        for at in range(start, min(start + LONGEST, len(items))):
            item = items[at]
            ids = tuple(numbers[v] if v in numbers else _OUTER + outer.setdefault(v, len(outer)) for v in item.operands)
            h = hash((h, keys[at], ids))
            for var in item.results:
                numbers[var] = len(numbers)
            if at > start and len(outer) <= MAX_TENSORS:
                groups[at - start + 1, h].append(start)
    return {k: v for k, v in groups.items() if len(v) > 1}


class _Scopes:
    """The paths of all items, and how many labels begin with each path."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.paths = [_path(item) for item in items]
        self.is_loop = [isinstance(item, Loop) and p is not None for item, p in zip(items, self.paths, strict=True)]
        self.counts: Counter[tuple[str, ...]] = Counter()
        for path in self.paths:
            if path is not None:
                self.counts.update(path[:end] for end in range(len(path) + 1))

    def scope(self, start: int, length: int) -> tuple[tuple[str, ...] | None, object] | None:
        """The path that all labels of a stretch begin with, and what is behind it; None if that is no whole scope."""
        paths = [p for p in self.paths[start : start + length] if p is not None]
        if not paths:
            return None, ()
        if self.counts[_common((paths[0], paths[-1]))] > len(paths) or any(self.is_loop[start : start + length]):
            return None
        prefix = _common(paths)
        if len(paths) == 1:
            prefix = prefix[:-1]
        if not prefix or self.counts[prefix] != len(paths):
            return None
        return prefix, tuple(_rest(p[len(prefix) :]) for p in paths)


@cache
def _rest(parts: tuple[str, ...]) -> object:
    """What a label says behind a path, besides numbers."""
    return tuple(0 if isinstance(p, int) else p for p in split_label(".".join(parts)))


def _path(item: Item) -> tuple[str, ...] | None:
    """The parts of a label; None where there is none."""
    if isinstance(item, Loop):
        inner = [p for p in map(_path, item.body.items) if p is not None]
        return _common(inner) if inner else None
    if not item.label:
        return None
    if any(isinstance(part, Expr) for part in item.label):
        text = join_label(item.label[: next(i for i, p in enumerate(item.label) if isinstance(p, Expr))])
        return tuple(text.split(".")[:-1])
    return tuple(join_label(item.label).split("."))


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    first, last = min(paths), max(paths)
    end = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:end]


def _uses(body: Body) -> dict[Var, int]:
    """The last item that reads each tensor; those that the body gives are read behind all items."""
    last: dict[Var, int] = {}
    for at, item in enumerate(body.items):
        for var in item.operands:
            last[var] = at
    return last | dict.fromkeys(body.outs, len(body.items))


def _refined(facts: _Facts, starts: Sequence[int], length: int, least: float) -> _Repeat | None:
    """The largest part of a group whose labels agree, too, that doesn't overlap, and saves more than `least`."""
    parts: dict[object, list[tuple[int, tuple[str, ...] | None]]] = defaultdict(list)
    for start in starts:
        scope = facts.scopes.scope(start, length) if facts.scopes is not None else (None, ())
        if scope is None:
            continue
        prefix, rests = scope
        chosen = parts[rests]
        if not chosen or chosen[-1][0] + length <= start:
            chosen.append((start, prefix))
    best: _Repeat | None = None
    for chosen in parts.values():
        places = tuple(s for s, _ in chosen)
        saved = _saved(facts, places, length, max(least, best.saved if best is not None else 0))
        if saved is not None:
            best = _Repeat(places, length, tuple(p for _, p in chosen), saved)
    return best


def _saved(facts: _Facts, starts: Sequence[int], length: int, least: float) -> float | None:
    """How many statements a block saves; None if it isn't more than `least`, or no block is to be made."""
    weight = sum(facts.sizes[starts[0] : starts[0] + length])
    saved: float = (len(starts) - 1) * min(weight - 1, COUNTED) - 1
    if len(starts) < 2 or weight < 3 or saved <= least:
        return None
    outs = {p for start in starts for p in facts.outs(start, length)}
    saved -= 3 * (len(outs) - 1)
    if not outs or len(outs) > MAX_TENSORS or saved <= least:
        return None
    saved -= facts.arguments(starts, length) * len(starts)
    if facts.scopes is not None:  # a scope begins with its first parameters, if that is as good
        paths = facts.scopes.paths[starts[0] : starts[0] + length]
        saved -= next((i for i, p in enumerate(paths) if p), 0) / 2
    return saved if saved > max(least, 1.5) else None


def _with_block(program: Program, repeat: _Repeat) -> Body:
    """The body with calls of a new block in place of equal stretches."""
    body = program.body
    facts = _Facts(body, is_named=False)
    n = repeat.length
    stretches = [body.items[s : s + n] for s in repeat.starts]
    outs = sorted({p for s in repeat.starts for p in facts.outs(s, n)})
    relative = [
        [_without(item, prefix) for item in stretch] for stretch, prefix in zip(stretches, repeat.prefixes, strict=True)
    ]
    outer = [_outer(stretch) for stretch in stretches]
    block, settings = _block(program, relative, outer, outs, repeat.prefixes)
    program.blocks.append(block)
    calls: dict[int, Call] = {}
    has_parameters = any(_has_parameters(item) for item in stretches[0])
    for k, start in enumerate(repeat.starts):
        prefix = repeat.prefixes[k]
        label: Label | None = None
        if has_parameters:
            label = split_label(".".join(prefix)) if prefix else ()
        values = zip(block.settings, settings, strict=True)
        slots = tuple(replace(slot, value=s.values[k]) for slot, s in values)
        results = tuple(body.items[start + at].results[place] for at, place in outs)
        calls[start] = Call(block, outer[k], results, slots, label)
    items: list[Item] = []
    at = 0
    while at < len(body.items):
        if at in calls:
            items.append(calls[at])
            at += n
        else:
            items.append(body.items[at])
            at += 1
    return replace(body, items=tuple(items))


def _is_plain(setting: Setting) -> bool:
    """Whether people give it by position."""
    return setting.word in ("filters", "units", "kernel")


def _has_parameters(item: Item) -> bool:
    if isinstance(item, Loop):
        return any(map(_has_parameters, item.body.items))
    return item.label is not None


def _without(item: Item, prefix: tuple[str, ...] | None) -> Item:
    """An item whose label is taken as below a path."""
    if not isinstance(item, Call) or not item.label or not prefix:
        return item
    rest = ".".join(join_label(item.label).split(".")[len(prefix) :])
    return replace(item, label=split_label(rest) or ("",))


def _outer(stretch: Sequence[Item]) -> tuple[Var, ...]:
    """What a stretch takes from outside, in the order of use."""
    inner = {v for item in stretch for v in item.results}
    return tuple(dict.fromkeys(v for item in stretch for v in item.operands if v not in inner))


def _block(
    program: Program,
    stretches: Sequence[Sequence[Item]],
    outer: Sequence[tuple[Var, ...]],
    outs: Sequence[tuple[int, int]],
    prefixes: Sequence[tuple[str, ...] | None],
) -> tuple[Block, list[Setting]]:
    """The block that stands for equal stretches, with the hyperparameters in which they differ."""
    first = stretches[0]
    words = [word for item in first for word, _ in leaves(item)]
    values = [[leaf for item in stretch for _, leaf in leaves(item)] for stretch in stretches]
    columns = [Column(word, tuple(v[i] for v in values)) for i, word in enumerate(words)]
    names = ["x", "y", "z", "u", "v", "w", "p", "q"]
    tensors = [(names[i], [o[i] for o in outer]) for i in range(len(outer[0]))][:1]
    knows_batch = all(o[:1] and o[0].is_batched for o in outer)
    found, settings = abstracted(columns, tensors, taken_names(first), knows_batch=knows_batch)
    rest = iter(found)
    body = Body(
        outer[0],
        tuple(with_leaves(item, rest) for item in first),
        tuple(first[at].results[place] for at, place in outs),
    )
    slots = sorted(((_slot(s), s) for s in settings), key=lambda pair: (pair[0].named, pair[0].default is not ...))
    name = block_name(prefixes, [b.name for b in program.blocks])
    return Block(name, body, tuple(slot for slot, _ in slots)), [setting for _, setting in slots]


def _slot(setting: Setting) -> Slot:
    """A hyperparameter; its default is the value that most calls give."""
    if _is_plain(setting):
        return Slot(setting.name, None, named=False)
    most, count = Counter(map(repr, setting.values)).most_common(1)[0]
    default = next(v for v in setting.values if repr(v) == most)
    is_default = count > 1 and setting.word != "#" and not has_expression(default)
    return Slot(setting.name, None, default if is_default else ...)
