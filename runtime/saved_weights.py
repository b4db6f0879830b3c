"""The weights of a saved program, written while they are packed and others make its code.

So they are never in memory twice: the program runs with the very pages that the system keeps of the file.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

import numpy as np

from .program import Array
from .saved import CHUNK, checksum, front, write_at

_PIECE = 1 << 20
"""Bytes that are copied at once, unless they lie side by side."""
_BUFFERS = 4
"""Chunks in memory: one that is filled, and others that are being written."""
_THREADS = 2
"""Beside the one that fills chunks: to write and to find checksums take about as long as that."""


class WeightsFile:
    """A file that becomes a saved program.

    Facts and code will stand before the weights, in `room` bytes, a multiple of `image.PAGE`: blanks fill it up.
    """

    def __init__(self, file: IO[bytes], size: int, room: int) -> None:
        """`file`, which is empty, can be written and read; `size` is that of the weights, which aren't empty."""
        self._file, self._size, self._room = file, size, room
        self._checksums: list[str] = []

    @property
    def is_filled(self) -> bool:
        """Whether all weights are in the file."""
        return len(self._checksums) == -(-self._size // CHUNK)

    def fill(self, pieces: Iterable[tuple[int, Array]]) -> Array:
        """Write arrays, each at its offset, in the order of offsets, and zeros between them; returns all as bytes.

        These are pages of the file until somebody writes to them, which the file doesn't notice. Raises `OSError`.
        """
        with ThreadPoolExecutor(_THREADS) as beside:
            buffers = _Buffers(self, beside)
            for offset, array in pieces:
                buffers.skip_to(offset)
                for piece in _pieces(array):
                    buffers.put(piece)
            buffers.skip_to(self._size)
            buffers.close()
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_COPY, offset=self._room)
        return np.frombuffer(mapped, np.uint8)

    def write(self, begin: int, chunk: Array) -> None:
        """Write bytes of the weights from byte `begin` on."""
        view = chunk.data
        while view:
            count = os.pwrite(self._file.fileno(), view, self._room + begin)
            view, begin = view[count:], begin + count

    def add_checksum(self, text: str) -> None:
        """That of the next chunk, which is written."""
        self._checksums.append(text)

    def finish(self, facts: Mapping[str, Any], code: bytes, state: Array) -> bool:
        """Write what stands before the weights; False if there is no room for it."""
        known = {**facts, "weights_bytes": self._size}
        text = front(known, code, state, self._checksums, self._room)
        if len(text) > self._room:
            return False
        write_at(self._file, 0, text)
        return True


class _Buffers:
    """Collects bytes in chunks, which other threads write and find checksums of."""

    def __init__(self, file: WeightsFile, beside: ThreadPoolExecutor) -> None:
        self._file, self._beside = file, beside
        self._chunk = np.zeros(CHUNK, np.uint8)
        self._used = self._begin = 0
        self._waiting: deque[tuple[Future[None], Future[str], Array]] = deque()

    def skip_to(self, offset: int) -> None:
        """Zeros up to this byte of all."""
        while (gap := offset - self._begin - self._used) > 0:
            count = min(gap, CHUNK - self._used)
            self._chunk[self._used : self._used + count] = 0
            self._advance(count)

    def put(self, array: Array) -> None:
        """The elements of an array, in row-major order."""
        if array.nbytes <= CHUNK - self._used:
            goal = self._chunk[self._used : self._used + array.nbytes]
            goal.view(array.dtype).reshape(array.shape)[...] = array
            self._advance(array.nbytes)
            return
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        while flat.size:
            count = min(flat.size, CHUNK - self._used)
            self._chunk[self._used : self._used + count] = flat[:count]
            flat = flat[count:]
            self._advance(count)

    def close(self) -> None:
        """Write what is left, and wait for all."""
        if self._used:
            self._send()
        while self._waiting:
            self._oldest()

    def _advance(self, count: int) -> None:
        self._used += count
        if self._used == CHUNK:
            self._send()

    def _send(self) -> None:
        """Hand the chunk over, and go on with another one."""
        chunk = self._chunk[: self._used]
        jobs = self._beside.submit(self._file.write, self._begin, chunk), self._beside.submit(checksum, chunk.data)
        self._waiting.append((*jobs, self._chunk))
        self._begin, self._used = self._begin + self._used, 0
        self._chunk = np.empty(CHUNK, np.uint8) if len(self._waiting) < _BUFFERS else self._oldest()

    def _oldest(self) -> Array:
        """The memory of the first chunk that was handed over, once it can be used again."""
        written, found, memory = self._waiting.popleft()
        written.result()
        self._file.add_checksum(found.result())
        return memory


def _pieces(array: Array) -> Iterator[Array]:
    """An array in parts along its first axes, which are short unless they lie side by side."""
    if array.nbytes <= _PIECE or array.flags.c_contiguous:
        if array.nbytes:
            yield array
        return
    step = _PIECE * len(array) // array.nbytes
    if step:
        yield from (array[i : i + step] for i in range(0, len(array), step))
        return
    for row in array:
        yield from _pieces(row)
