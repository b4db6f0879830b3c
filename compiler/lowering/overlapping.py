"""Which values may reach into each other, because a call reads one for the last time and writes the other first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..graph.ir import Value
from ..loops.ir import For, Kernel, LoopKind, Space, Stmt
from ..modules.overlaps import Distances, Overlaps
from .memory import Lifetime


def serial(kernel: Kernel) -> Kernel:
    """The kernel for a machine with one thread: its parallel loop is one like any other."""
    body = tuple(_serial(s) for s in kernel.body)
    return replace(kernel, body=body)


def _serial(s: Stmt) -> Stmt:
    return replace(s, kind=LoopKind.SERIAL) if isinstance(s, For) and s.kind is LoopKind.PARALLEL else s


def overlaps_of(
    calls: Sequence[tuple[Kernel, Sequence[Value | None]]], lifetimes: Sequence[Lifetime]
) -> Mapping[tuple[Value, Value], Distances]:
    """By a value that is read and one that is written; `calls` are kernels, and in whose memory their arguments lie."""
    lives = {t.value: t for t in lifetimes}
    known: dict[Kernel, Overlaps] = {}
    found: dict[tuple[Value, Value], Distances] = {}
    for number, (kernel, owners) in enumerate(calls):
        uses = [(p, v) for p, v in zip(kernel.params, owners, strict=True) if v in lives]
        written = {v for p, v in uses if p.space is Space.OUT and lives[v].first == number}
        read = {v for p, v in uses if p.space is Space.ARGUMENT and lives[v].last == number}
        read -= {v for p, v in uses if p.space is Space.OUT}
        pairs = [(x, v, y, w) for x, v in uses for y, w in uses if v in read and w in written]
        for x, v, y, w in pairs:
            if x.space is Space.ARGUMENT and y.space is Space.OUT:
                known[kernel] = known.get(kernel) or Overlaps(kernel)
                distances = known[kernel].distances(x, y)
                found[v, w] = found[v, w].both(distances) if (v, w) in found else distances
    return found
