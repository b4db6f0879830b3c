"""Memory beside pages that nothing may touch: what reads or writes beyond its end dies."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from netc.compiler.arrays import ALIGNMENT
from netc.compiler.graph import Array
from netc.runtime.program import Program

PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None)


class Guarded:
    """Writable bytes whose last one, or first one, lies beside a forbidden page."""

    def __init__(self, size: int, alignment: int, *, at_end: bool) -> None:
        pages = -(-max(size, 1) // PAGE)
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._forbidden = (start, start + (pages + 1) * PAGE)
        free = pages * PAGE - size if at_end else 0
        place = PAGE + free // alignment * alignment
        self.address = start + place
        self.bytes: Any = np.frombuffer(self._memory, np.uint8, size, place)
        self._protect(0)

    def _protect(self, rights: int) -> None:
        for page in self._forbidden:
            assert _LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), rights) == 0

    def close(self) -> None:
        """Allow everything again: the memory goes back to the system as it came."""
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)


def run_guarded(program: Program, inputs: Sequence[Array], *, at_end: bool) -> list[Array]:
    """The outputs of a run whose arena, weights, inputs and outputs all lie so, full of ones where nothing is yet."""
    session, results = program._session, program._results
    sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in results]
    before = session.context.arena, session.context.weights
    with ExitStack() as stack:

        def memory(size: int, alignment: int, content: Any = 0xFF) -> Guarded:
            found = Guarded(size, alignment, at_end=at_end)
            stack.callback(found.close)
            found.bytes[...] = content
            return found

        arena = memory(program.module.arena_bytes, ALIGNMENT)
        weights = memory(session.weights.nbytes, ALIGNMENT, session.weights)
        given = [memory(x.nbytes, x.itemsize, np.frombuffer(x.tobytes(), np.uint8)) for x in inputs]
        made = [memory(size, dtype.itemsize) for size, (_, dtype) in zip(sizes, results, strict=True)]
        session.context.arena, session.context.weights = arena.address, weights.address
        try:
            program.at([each.address for each in (*given, *made)])
        finally:
            session.context.arena, session.context.weights = before
        parts = zip(made, results, strict=True)
        return [np.frombuffer(m.bytes.tobytes(), dtype).reshape(shape) for m, (shape, dtype) in parts]
