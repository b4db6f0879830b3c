"""Copies of large arrays, and memory for them."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import IO, Any

import numpy as np

ALIGNMENT = 64
"""Of arena and weights, in bytes."""


_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
"""Memory of this process alone: `mmap` shares it otherwise, which takes small pages and keeps what is given back."""


def aligned_bytes(size: int) -> np.ndarray[Any, Any]:
    """Zeroed memory that starts at a multiple of `ALIGNMENT`.

    Much of it lies in huge pages where Linux gives them to those who ask: in virtual machines, where finding a small
    page reads two tables of four levels each, memory is read several times as fast.
    """
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        raw = np.frombuffer(_huge_pages(size + _HUGE), np.uint8)
        start = -raw.ctypes.data % _HUGE
        return raw[start : start + size]
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def _huge_pages(size: int) -> mmap.mmap:
    """Zeroed memory, in huge pages if the system has some."""
    try:
        memory = mmap.mmap(-1, size, **_PRIVATE)
    except OSError as e:
        raise MemoryError(f"no {size:,} bytes of memory: {e.strerror}") from None
    _ask_for_huge_pages(memory)
    return memory


def _ask_for_huge_pages(memory: mmap.mmap) -> None:
    if len(memory) >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)


def row_major(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array with its elements in row-major order, the very array if they are so.

    The last axis is copied in short blocks, so that the lines of the cache that a block reads serve its neighbours.
    """
    if array.flags.c_contiguous or not array.ndim:
        return array
    result = np.empty(array.shape, array.dtype)
    block = max(1, _LINE // array.itemsize)
    if array.size < _SMALL or array.strides[-1] == array.itemsize:
        block = array.shape[-1]
    for start in range(0, array.shape[-1], max(1, block)):
        result[..., start : start + block] = array[..., start : start + block]
    return result


class Scratch(mmap.mmap):
    """A part of a file in memory whose bytes are read once, by `move`: what was copied is let go.

    Its pages are those that the system keeps of the file, so that nothing is copied before, and no memory is asked for.
    """

    @staticmethod
    def of(file: IO[bytes], start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """The array, not empty, that lies in a file from byte `start` on; it can't be written to.

        Raises `OSError` or `ValueError` where the file is too short or can't be mapped. Who makes it shorter while the
        array lives ends the process.
        """
        before = start % mmap.ALLOCATIONGRANULARITY
        count = math.prod(shape)
        length = before + count * dtype.itemsize
        memory = Scratch(file.fileno(), length, access=mmap.ACCESS_READ, offset=start - before)
        if hasattr(memory, "madvise") and hasattr(mmap, "MADV_WILLNEED"):
            memory.madvise(mmap.MADV_WILLNEED)
        return np.frombuffer(memory, dtype, count, before).reshape(shape)


def move(source: np.ndarray[Any, Any], goal: np.ndarray[Any, Any]) -> None:
    """Copy an array to another one of its shape; where it lies in a `Scratch`, its pages are let go meanwhile.

    So the two take little more memory than one of them. Elements must come from the front of the memory to its end
    along one of the axes; else all of it is let go when nobody holds it any longer, as any memory.
    """
    memory = _scratch_of(source)
    axis = _outermost(source) if memory is not None else None
    if memory is None or axis is None:
        goal[...] = source
        return
    first = np.frombuffer(memory, np.uint8).ctypes.data
    begin = source.ctypes.data - first
    step = max(1, _PART // source.strides[axis])
    given, before = 0, (slice(None),) * axis
    for start in range(0, source.shape[axis], step):
        part = (*before, slice(start, start + step))
        goal[part] = source[part]
        end = begin + min(start + step, source.shape[axis]) * source.strides[axis]
        end = min(end, len(memory)) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > given and hasattr(memory, "madvise"):
            memory.madvise(mmap.MADV_DONTNEED, given, end - given)
            given = end


def _scratch_of(array: np.ndarray[Any, Any]) -> Scratch | None:
    """The memory of an array that is a view of a `Scratch`."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    owner = base.obj if isinstance(base, memoryview) else base
    return owner if isinstance(owner, Scratch) else None


def _outermost(array: np.ndarray[Any, Any]) -> int | None:
    """The axis along which an array goes through its memory from the front to the end, if there is one."""
    if not array.ndim or not array.size or min(array.strides) < 0:
        return None
    axis = max(range(array.ndim), key=lambda d: array.strides[d] if array.shape[d] > 1 else 0)
    others = sum((array.shape[d] - 1) * array.strides[d] for d in range(array.ndim) if d != axis)
    return axis if others + array.itemsize <= array.strides[axis] else None


_HUGE = 1 << 21
"""Bytes of a huge page (x86-64, and AArch64 with small pages of 4 KiB)."""
_PART = 1 << 24
"""Bytes after which memory is given back."""
_LINE = 64
"""Bytes of a line of the cache."""
_SMALL = 1 << 20
"""Elements that are copied at once."""
