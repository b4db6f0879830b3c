"""Where threads must wait for each other: between two calls that touch the same memory, unless one thread makes both.

A serial kernel runs on the first thread, a parallel one on all of them. A barrier stands as late as it can, behind the
call before the second of two that meet; calls that have nothing in common run without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..graph.ir import Value
from ..loops.ir import Kernel, Space
from ..modules.module import Block, Call, Meetings, Memory, Turns


@dataclass(frozen=True, slots=True)
class Touch:
    """Bytes that a call reads or writes."""

    memory: Memory
    start: int
    stop: int
    writes: bool
    part: tuple[Value, bool] | None = None
    """A tensor of which only the margins are touched (True), or only what lies between them (False)."""

    def meets(self, other: Touch) -> bool:
        """True if both touch a byte and one of them writes."""
        if self.memory is not other.memory or not (self.writes or other.writes):
            return False
        mine, theirs = self.part, other.part
        if mine and theirs and mine[0] is theirs[0] and mine[1] != theirs[1]:
            return False  # margins of a tensor, and what lies between them
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True)
class Placed:
    """A call whose arguments have places, and which parts of tensors it touches, for each argument."""

    call: Call
    parts: Sequence[tuple[Value, bool] | None]

    def touches(self, kernel: Kernel) -> list[Touch]:
        """All that the call reads and writes, but for weights, which nobody writes."""
        found: list[Touch] = []
        for slot, buffer, part in zip(self.call.arguments, kernel.params, self.parts, strict=True):
            if slot.memory is not Memory.WEIGHTS:
                own = slot.memory in (Memory.INPUT, Memory.OUTPUT)  # numbers of tensors, each with memory of its own
                stop = slot.offset + (1 if own else buffer.bytes)
                found.append(Touch(slot.memory, slot.offset, stop, buffer.space is Space.OUT, part))
        if self.call.when is not None:
            found.append(Touch(self.call.when.memory, self.call.when.offset, self.call.when.offset + 1, False))
        return found


def with_barriers(
    placed: Sequence[Placed],
    kernels: Mapping[str, Kernel],
    blocks: Sequence[Block] = (),
    turns: Sequence[Turns] = (),
) -> tuple[Call, ...]:
    """The calls, with a barrier behind each one where threads must wait, unless `blocks` make them.

    Threads meet before `turns` and behind them.
    """
    touches = [each.touches(kernels[each.call.kernel]) for each in placed]
    parallel = {name: kernel.is_parallel for name, kernel in kernels.items()}
    serial = [not parallel[each.call.kernel] for each in placed]
    around = {n for t in turns for n in (t.first - 1, t.end - 1)}
    calls = [each.call for each in placed]
    for n, call in enumerate(calls):
        if call.barrier is not (n in around):
            calls[n] = replace(call, barrier=n in around)
    within = {n: t for t in turns for n in range(t.first, t.end)}
    meetings = Meetings(calls, blocks)
    first = 0
    """The first call that an unconditional barrier doesn't separate from the present one."""
    for b in range(len(calls)):
        if b in within:
            first = within[b].end
            continue
        for a in range(b - 1, first - 1, -1):
            if (serial[a] and serial[b]) or meetings.between(a, b):
                continue
            if any(x.meets(y) for x in touches[a] for y in touches[b]):
                at = next(n for n in range(b - 1, a - 1, -1) if meetings.is_made_with(n, a, b))
                calls[at] = replace(calls[at], barrier=True)
                if meetings.is_always_made(at):
                    first = at + 1
                    break
    return tuple(calls)
