"""After which calls a program says that results are final, so that these can be sent while the rest is computed.

Results are taken in the order in which they become final, and put together to buckets of at least so many bytes. The
program calls back where all threads meet after the last call that touches a bucket (`Call.announces`); what remains is
final when the program ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..modules.module import Block, Call, final_outputs

BUCKET = "bucket"
"""The attribute of a graph that says how many bytes a bucket has at least."""


def announcing(calls: Sequence[Call], sizes: Sequence[int], blocks: Sequence[Block], least: int) -> tuple[Call, ...]:
    """The calls, of which some announce buckets of at least `least` bytes; `sizes` are those of the outputs."""
    places = [n for n in range(len(calls) - 1) if _all_meet_after(n, calls, blocks)]
    marked = [replace(call, announces=n in places) for n, call in enumerate(calls)]
    held, kept = 0, set[int]()
    for place, outputs in zip(places, final_outputs(marked, len(sizes)), strict=False):
        held += sum(sizes[output] for output in outputs)
        if held >= least:
            kept.add(place)
            held = 0
    return tuple(replace(call, announces=n in kept) for n, call in enumerate(calls))


def _all_meet_after(number: int, calls: Sequence[Call], blocks: Sequence[Block]) -> bool:
    call = calls[number]
    return call.barrier and call.when is None and not any(b.first <= number < b.end for b in blocks)
