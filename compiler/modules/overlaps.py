"""How far what a kernel reads may lie inside what it writes, so that nothing is overwritten before it is read.

A kernel that goes through its input row by row has no use for the first rows when it writes the last ones. The
loops are followed in order: outer ones iteration by iteration, inner ones by the range of what they touch. For each
step that gives the bytes that are read and written, and of these how far apart both buffers must begin ("diagonal
memory optimisation": Blacker, Bharadwaj, Kumar, "Reducing the memory requirements of deep neural networks", 2020).
A kernel that goes through one channel after the other reads and writes only bytes of that channel, if both
buffers have as many channels and begin a multiple of these apart.

Within a step nothing is known of the order: it may write first, and read then. Only one thread may run the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..loops.ir import (
    INDEX,
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    LoopKind,
    Select,
    Space,
    Stmt,
    Store,
    Var,
)
from .module import Call, Memory, Module

MOST_ITERATIONS = 16384
"""Iterations of nested loops that are followed one by one."""
MOST_CHANNELS = 1024
"""Channels that are looked at one by one."""

Numbers = NDArray[np.int64]
Range = tuple[Numbers, Numbers]
"""Least and greatest value, for each iteration of the loops that are followed."""


@dataclass(frozen=True, slots=True)
class Distances:
    """From the first byte of what is written to the first byte of what is read: which ones are safe."""

    most: int
    """The input may begin so many bytes behind the output, or less (mostly a negative number)."""
    least: int
    """Or so many bytes behind it, or more."""
    pitch: int = 0
    """What else is safe are multiples of this; 0 if nothing is."""
    pitched_most: int = 0
    pitched_least: int = 0
    """As `most` and `least`, for such multiples."""

    def allow(self, distance: int) -> bool:
        """True if the input may begin so many bytes behind the output."""
        if distance <= self.most or distance >= self.least:
            return True
        fits = self.pitch and distance % self.pitch == 0
        return bool(fits and (distance <= self.pitched_most or distance >= self.pitched_least))

    def both(self, other: Distances) -> Distances:
        """What is safe for two parameters that see the same memory; multiples of a pitch are given up."""
        return Distances(min(self.most, other.most), max(self.least, other.least))


@dataclass(frozen=True, slots=True)
class _Touched:
    """An access, for all iterations of the loops around it: step, first byte, and the byte behind the last."""

    at: Numbers
    first: Numbers
    end: Numbers
    row: Range
    """First byte and the one behind the last within the last dimension."""


class Overlaps:
    """How what a kernel reads and what it writes may lie to each other."""

    def __init__(self, kernel: Kernel) -> None:
        trace = _Trace()
        trace.block(kernel.body, _Place(np.zeros(1, np.int64), {}))
        self._found = trace.found
        self._steps = _length(kernel.body, 1)
        self._known: dict[tuple[str, str], Distances] = {}

    def distances(self, x: Buffer, y: Buffer) -> Distances:
        """Those of a parameter that is only read and one that is written."""
        key = (x.name, y.name)
        if key not in self._known:
            assert (x.space, y.space) == (Space.ARGUMENT, Space.OUT)
            self._known[key] = _distances(x, y, self._found, self._steps)
        return self._known[key]


def overlapping(module: Module) -> frozenset[tuple[str, str]]:
    """Kernels with names of parameters: those that some call gives memory that another parameter sees as well."""
    return frozenset((call.kernel, name) for call, names in _overlaps(module) for name in names)


def overlapping_calls(module: Module) -> int:
    """How many calls write where they read."""
    return len({id(call) for call, _ in _overlaps(module)})


def _overlaps(module: Module) -> Iterator[tuple[Call, tuple[str, str]]]:
    """Calls with the names of two parameters, one of which is written, that see the same memory."""
    kernels = {kernel.name: kernel for kernel in module.kernels}
    for call in module.calls:
        uses = [u for u in zip(call.arguments, kernels[call.kernel].params, strict=True) if u[0].memory is Memory.ARENA]
        for (one, x), (two, y) in combinations(uses, 2):
            apart = one.offset + x.bytes <= two.offset or two.offset + y.bytes <= one.offset
            if not apart and Space.OUT in (x.space, y.space) and x.space is not y.space:
                yield call, (x.name, y.name)


def _distances(x: Buffer, y: Buffer, found: Mapping[tuple[str, bool], Sequence[_Touched]], steps: int) -> Distances:
    """Of what each step reads of one buffer and writes of another."""
    read, written = found.get((x.name, False), ()), found.get((y.name, True), ())
    most, least = _apart(read, written, steps, (-x.bytes, y.bytes))
    pitch, other = (b.shape[-1] * b.dtype.itemsize if b.shape else 0 for b in (x, y))
    size = x.dtype.itemsize
    if pitch != other or size != y.dtype.itemsize or not 1 < pitch // size <= MOST_CHANNELS:
        return Distances(most, least)
    pitched = (y.bytes, -x.bytes)
    for channel in range(0, pitch, size):
        mine, theirs = ([p for t in parts if (p := _of_channel(t, channel, pitch))] for parts in (read, written))
        low, high = _apart(mine, theirs, steps, (-x.bytes, y.bytes))
        pitched = (min(pitched[0], low), max(pitched[1], high))
        if pitched[0] <= most and pitched[1] >= least:
            return Distances(most, least)
    return Distances(most, least, pitch, *pitched)


def _of_channel(touched: _Touched, channel: int, pitch: int) -> _Touched | None:
    """The pixels that are touched in one of their channels, which begins at this byte."""
    first, end = touched.row
    (here,) = np.nonzero((first <= channel) & (channel < end))
    if not len(here):
        return None
    begin = touched.first[here] // pitch * pitch
    return _Touched(touched.at[here], begin, -(-touched.end[here] // pitch) * pitch, (first, end))


def _apart(
    read: Sequence[_Touched], written: Sequence[_Touched], steps: int, disjoint: tuple[int, int]
) -> tuple[int, int]:
    """The greatest negative and the least positive distance that are safe; `disjoint` ones always are."""
    first_read, last_read = _extents(read, steps)
    first_written, last_written = _extents(written, steps)
    first_read = np.minimum.accumulate(first_read[::-1])[::-1]
    last_read = np.maximum.accumulate(last_read[::-1])[::-1]
    first_written, last_written = np.minimum.accumulate(first_written), np.maximum.accumulate(last_written)
    both = (first_read < last_read) & (first_written < last_written)
    if not both.any():
        return 0, 0
    most = int((first_written - last_read)[both].min())
    least = int((last_written - first_read)[both].max())
    return max(most, disjoint[0]), min(least, disjoint[1])


_NOTHING = (np.iinfo(np.int64).max // 4, np.iinfo(np.int64).min // 4)


def _extents(parts: Sequence[_Touched], steps: int) -> Range:
    """For each step the first byte that is touched and the one behind the last."""
    low, high = (np.full(steps, number, np.int64) for number in _NOTHING)
    for part in parts:
        np.minimum.at(low, part.at, part.first)
        np.maximum.at(high, part.at, part.end)
    return low, high


def _count(loop: For, times: int) -> int:
    """The iterations of a loop that is followed one by one, inside of others with so many; 0 for another."""
    if loop.kind is LoopKind.UNROLL or not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return 0
    count = len(range(int(loop.start.value), int(loop.stop.value), loop.step))
    return count if count * times <= MOST_ITERATIONS else 0


def _first(loop: For) -> int:
    """Where a loop that is followed begins."""
    assert isinstance(loop.start, Const)
    return int(loop.start.value)


def _parts(body: Sequence[Stmt]) -> list[list[Stmt]]:
    """Each loop by itself, and what stands between loops: a step each, unless it is a loop that is followed."""
    parts: list[list[Stmt]] = []
    for s in body:
        if isinstance(s, For) or not parts or isinstance(parts[-1][0], For):
            parts.append([])
        parts[-1].append(s)
    return parts


def _length(body: Sequence[Stmt], times: int) -> int:
    """The steps of a block."""
    return sum(_steps(part, times) for part in _parts(body))


def _steps(part: Sequence[Stmt], times: int) -> int:
    loop = part[0]
    count = _count(loop, times) if isinstance(loop, For) else 0
    return count * _length(loop.body, times * count) if isinstance(loop, For) and count else 1


@dataclass
class _Place:
    """Where in time something happens, for all iterations at once, and what is known of indices there."""

    at: Numbers
    known: dict[str, Range]
    seen: set[int] = field(default_factory=set[int])
    """Identities of expressions that were met in this step; they share parts."""


class _Trace:
    """What a kernel touches, step by step."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, bool], list[_Touched]] = {}
        """By name of a buffer, and whether it is written."""

    def block(self, body: Sequence[Stmt], place: _Place) -> None:
        """A block whose loops are followed."""
        known, at = dict(place.known), place.at
        for part in _parts(body):
            loop = part[0]
            count = _count(loop, len(at)) if isinstance(loop, For) else 0
            if isinstance(loop, For) and count:
                self.followed(loop, count, _Place(at, known))
            else:
                here = _Place(at, known)
                for s in part:
                    self.statement(s, here)
                known = here.known
            at = at + _steps(part, len(at))

    def followed(self, loop: For, count: int, place: _Place) -> None:
        """A loop, iteration by iteration."""
        times = len(place.at)
        length = _length(loop.body, times * count)
        values = np.tile(_first(loop) + loop.step * np.arange(count, dtype=np.int64), times)
        known = {name: (np.repeat(low, count), np.repeat(high, count)) for name, (low, high) in place.known.items()}
        known[loop.var] = (values, values)
        at = np.repeat(place.at, count) + np.tile(length * np.arange(count, dtype=np.int64), times)
        self.block(loop.body, _Place(at, known))

    def statement(self, s: Stmt, place: _Place) -> None:
        """A statement of one step."""
        if isinstance(s, Let):
            self.reads(s.value, place)
            found = self.range(s.value, place) if s.value.type is INDEX else None
            if place.known.pop(s.name, None) is not None:
                place.seen.clear()  # what was met may mean other places now
            if found is not None:
                place.known[s.name] = found
        elif isinstance(s, Store):
            for e in (*s.indices, s.value):
                self.reads(e, place)
            self.touch(s.buffer, s.indices, s.value.type.lanes, True, place)
        elif isinstance(s, For):
            self.reads(s.start, place)
            self.reads(s.stop, place)
            first, end = self.range(s.start, place), self.range(s.stop, place)
            inner = _Place(place.at, dict(place.known))
            inner.known.pop(s.var, None)
            if first is not None and end is not None:
                inner.known[s.var] = (first[0], np.maximum(end[1] - 1, first[0]))
            for each in s.body:
                self.statement(each, inner)
        elif isinstance(s, If):
            self.reads(s.condition, place)
            for side in (s.then, s.otherwise):
                inner = _Place(place.at, dict(place.known))
                for each in side:
                    self.statement(each, inner)

    def reads(self, e: Expr, place: _Place) -> None:
        """All that an expression reads."""
        if id(e) in place.seen:
            return
        place.seen.add(id(e))
        if isinstance(e, Load):
            self.touch(e.buffer, e.indices, e.span, False, place)
        for operand in e.indices if isinstance(e, Load) else e.operands:
            self.reads(operand, place)

    def touch(self, buffer: Buffer, indices: Sequence[Expr], lanes: int, writes: bool, place: _Place) -> None:
        """Note an access to a parameter, whose indices lie inside it."""
        if buffer.space not in (Space.ARGUMENT, Space.OUT):
            return
        size = buffer.dtype.itemsize
        first = last = low = high = np.zeros(len(place.at), np.int64)
        for index, extent in zip(indices, buffer.shape, strict=True):
            found = self.range(index, place)
            low, high = (np.clip(end, 0, extent - 1) for end in found or (first * 0, first * 0 + extent))
            first, last = first * extent + low, last * extent + high
        row = low * size, np.minimum((high + lanes) * size, size * (buffer.shape or (1,))[-1])
        end = np.minimum((last + lanes) * size, buffer.bytes)
        self.found.setdefault((buffer.name, writes), []).append(_Touched(place.at, first * size, end, row))

    def range(self, e: Expr, place: _Place) -> Range | None:
        """The values of an index; None where nothing is known of it."""
        if isinstance(e, Const):
            number = np.full(len(place.at), int(e.value), np.int64)
            return number, number
        if isinstance(e, Var):
            return place.known.get(e.name)
        if isinstance(e, Binary):
            a, b = self.range(e.lhs, place), self.range(e.rhs, place)
            return _combined(e.op, a, b) if a is not None and b is not None else None
        if isinstance(e, Select):
            a, b = self.range(e.then, place), self.range(e.otherwise, place)
            return (np.minimum(a[0], b[0]), np.maximum(a[1], b[1])) if a is not None and b is not None else None
        return None


def _combined(op: str, a: Range, b: Range) -> Range | None:
    """The values of an operation on two indices."""
    (a_low, a_high), (b_low, b_high) = a, b
    if op == "add":
        return a_low + b_low, a_high + b_high
    if op == "sub":
        return a_low - b_high, a_high - b_low
    if op == "mul":
        ends = np.stack([a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high])
        return ends.min(axis=0), ends.max(axis=0)
    if op in ("min", "max"):
        choose = np.minimum if op == "min" else np.maximum
        return choose(a_low, b_low), choose(a_high, b_high)
    if op in ("floordiv", "mod") and (b_low == b_high).all() and (b_low > 0).all():
        low, high = a_low // b_low, a_high // b_low
        if op == "floordiv":
            return low, high
        same = low == high
        return np.where(same, a_low - low * b_low, 0), np.where(same, a_high - low * b_low, b_low - 1)
    return None
