"""What calls touch: the bytes of their arguments that are read or written.

Accesses give boxes, one range of indices for each dimension, which tell most accesses apart: also those in two views of
the same memory that differ in nothing but dimensions that one of them has joined. Where boxes intersect, what lies in
them is compared run by run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..loops.accesses import Access, Box, KernelFacts
from ..loops.interval import UNKNOWN, Interval
from ..loops.ir import Buffer, Kernel, Space
from ..loops.linear import Knowledge, Linear
from ..types import DType
from .module import Call, Memory, Slot

Runs = NDArray[np.int64]
"""[n, 2]: for each run of bytes the first one and the one behind the last."""


class Touched:
    """What a kernel touches of one parameter."""

    def __init__(self, buffer: Buffer, facts: KernelFacts) -> None:
        self.buffer = buffer
        self.facts = facts
        self._met: dict[tuple[Touched, int], bool] = {}

    @cached_property
    def written(self) -> Part:
        """What is written."""
        return Part(self, [a for a in self.facts.accesses[self.buffer.name] if a.writes])

    @cached_property
    def all(self) -> Part:
        """What is read or written."""
        return Part(self, self.facts.accesses[self.buffer.name])

    def meets(self, other: Touched, offset: int) -> bool:
        """True if both touch a byte and one of them writes it; `other` begins `offset` bytes later.

        Found once: deep networks call a few kernels again and again, at the same places relative to each other.
        """
        found = self._met.get((other, offset))
        if found is None:
            found = self.written.meets(other.all, offset) or self.all.meets(other.written, offset)
            self._met[other, offset] = found
        return found


class Part:
    """Some of what a kernel touches of one parameter."""

    def __init__(self, of: Touched, accesses: Sequence[Access]) -> None:
        self.of = of
        self.accesses = accesses

    @cached_property
    def boxes(self) -> list[Box]:
        """Boxes around it."""
        shape = self.of.buffer.shape
        return _joined([box for a in self.accesses for box in a.boxes(self.of.facts.knowledge, shape)])

    @cached_property
    def runs(self) -> Runs:
        """Its bytes as runs in ascending order that don't overlap."""
        parts = [_access_runs(a, self.of.facts.knowledge, self.of.buffer) for a in self.accesses]
        return _merged(np.concatenate(parts))

    def meets(self, other: Part, offset: int) -> bool:
        """True if both have a byte in common."""
        if not self.accesses or not other.accesses:
            return False
        one, two = self.of.buffer, other.of.buffer
        if offset == 0 and one.dtype.itemsize == two.dtype.itemsize:
            finer = max(one.shape, two.shape, key=len)
            a = [_refined(box, one.shape, finer) for box in self.boxes]
            b = [_refined(box, two.shape, finer) for box in other.boxes]
            if not any(x is None or y is None or intersect(x, y) for x in a for y in b):
                return False
        return _overlap(self.runs, other.runs + offset)


@dataclass(frozen=True, slots=True)
class Span:
    """An argument of a call: where it lies and what is touched there."""

    slot: Slot
    touched: Touched
    writes: bool
    start: int
    stop: int

    def meets(self, other: Span) -> bool:
        """True if both touch a byte and one of them writes there."""
        if self.slot.memory is not other.slot.memory or not (self.writes or other.writes):
            return False
        if self.stop <= other.start or other.stop <= self.start:
            return False
        return self.touched.meets(other.touched, other.start - self.start)


_CONDITION = Buffer("condition", DType.BOOL, (1,))
_ASKED = Touched(
    _CONDITION,
    KernelFacts(
        Knowledge(), None, {"condition": [Access("condition", ({},), {(0,)}, 1, False, {}, (UNKNOWN,), False)]}
    ),
)
"""What asking for a condition touches."""


@dataclass
class Spans:
    """The spans of calls, with what is known of each kernel's parameters kept."""

    kernels: dict[str, Kernel]
    facts: dict[str, KernelFacts]
    _touched: dict[tuple[str, str], Touched] = field(default_factory=dict[tuple[str, str], Touched])

    def of(self, call: Call) -> list[Span]:
        """All that a call touches, but for weights, which nobody writes."""
        spans = [
            _span(slot, self._of(call.kernel, buffer))
            for slot, buffer in zip(call.arguments, self.kernels[call.kernel].params, strict=True)
            if slot.memory is not Memory.WEIGHTS
        ]
        return [*spans, _span(call.when, _ASKED)] if call.when is not None else spans

    def _of(self, kernel: str, buffer: Buffer) -> Touched:
        key = (kernel, buffer.name)
        if key not in self._touched:
            self._touched[key] = Touched(buffer, self.facts[kernel])
        return self._touched[key]


def _span(slot: Slot, touched: Touched) -> Span:
    """Inputs and outputs have memory of their own: they lie as far apart as can be."""
    own = slot.memory in (Memory.INPUT, Memory.OUTPUT)
    start = slot.offset << 48 if own else slot.offset
    return Span(slot, touched, touched.buffer.space is Space.OUT, start, start + touched.buffer.bytes)


# ---- boxes ----------------------------------------------------------------------------------------------------------


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """The same elements in fewer boxes: neighbours along the last dimension become one."""
    joined: dict[Box, list[tuple[int, int]]] = {}
    for box in sorted(set(boxes)):
        runs = joined.setdefault(box[:-1], [])
        if box and runs and box[-1][0] <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(runs[-1][1], box[-1][1]))
        else:
            runs.append(box[-1] if box else (0, 0))
    return [(*first, run) if boxes[0] else () for first, runs in joined.items() for run in runs]


def _refined(box: Box, shape: Sequence[int], finer: Sequence[int]) -> Box | None:
    """A box in a shape whose last dimensions are joined in `shape`; None where it is no box there."""
    d = len(shape) - 1
    if tuple(shape) == tuple(finer):
        return box
    if d < 0 or tuple(shape[:d]) != tuple(finer[:d]) or shape[d] != math.prod(finer[d:]):
        return None
    (low, high), rest = box[d], math.prod(finer[d + 1 :])
    if not rest or low % rest or (high + 1) % rest:
        return None
    return (*box[:d], (low // rest, high // rest), *((0, size - 1) for size in finer[d + 1 :]))


def intersect(a: Box, b: Box) -> bool:
    """True if two boxes of one buffer have an element in common."""
    return all(low <= end and start <= high for (low, high), (start, end) in zip(a, b, strict=True))


# ---- runs -----------------------------------------------------------------------------------------------------------


def _access_runs(access: Access, knowledge: Knowledge, buffer: Buffer) -> Runs:
    """The bytes of accesses, those of one constant after the other."""
    shape, size = buffer.shape, buffer.dtype.itemsize
    steps = [
        _values(terms, access, limits, knowledge) for terms, limits in zip(access.terms, access.limits, strict=True)
    ]
    parts = []
    for constant in sorted(access.constants):
        starts = np.zeros(1, np.int64)
        for values, number, extent in zip(steps, constant, shape, strict=True):
            inside = values + number
            inside = inside[(inside >= 0) & (inside < extent)]
            starts = (starts[:, None] * extent + inside).reshape(-1)
        parts.append(starts)
    first = np.unique(np.concatenate(parts)) * size
    return np.stack([first, first + access.lanes * size], axis=1)


def _values(terms: Mapping[int, int], access: Access, limits: Interval, knowledge: Knowledge) -> NDArray[np.int64]:
    """All values between limits that a sum of terms can take."""
    values = np.zeros(1, np.int64)
    for atom, c in terms.items():
        low, high = knowledge.range(Linear(0, {atom: 1}), access.narrowed)
        values = np.unique(values[:, None] + c * np.arange(int(low), int(high) + 1))
    return values[(values >= limits[0]) & (values <= limits[1])]


def _merged(runs: Runs) -> Runs:
    """The same bytes as runs that don't overlap."""
    if not len(runs):
        return runs
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    ends = np.maximum.accumulate(runs[:, 1])
    begins = np.ones(len(runs), bool)
    begins[1:] = runs[1:, 0] > ends[:-1]
    last = np.append(np.flatnonzero(begins)[1:] - 1, len(runs) - 1)
    return np.stack([runs[begins, 0], ends[last]], axis=1)


def _overlap(a: Runs, b: Runs) -> bool:
    """True if two lists of runs have a byte in common."""
    if not len(a) or not len(b):
        return False
    before = np.searchsorted(a[:, 0], b[:, 1]) - 1  # for each run of b the last one of a that begins before its end
    return bool(((before >= 0) & (a[before, 1] > b[:, 0])).any())
