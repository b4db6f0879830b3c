"""A network that is compiled becomes a saved program in the cache; large weights are written while they are packed."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

from .compiler.modules.module import Module
from .known import Files, Heard, records
from .pipeline import Compilation
from .runtime.cache import ObjectCache, Part
from .runtime.data.labels import Labels
from .runtime.program import Program
from .runtime.saved_weights import WeightsFile
from .saving import save_program

LARGE = 1 << 24
"""Bytes of weights that aren't packed in memory first."""
ROOM = 1 << 21
"""Bytes for code and facts before them, for each `KERNELS` begun, five times what kernels of large networks take."""
KERNELS = 64


class Keeping:
    """Puts the program of a key into the cache, where there is a key; if that is impossible, it is made anew next time.

    A context: what was begun and isn't kept goes.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._cache = ObjectCache.default()
        self._part: Part | None = None
        self._weights: WeightsFile | None = None

    def __enter__(self) -> Keeping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._part is not None:
            self._part.close()

    def weights_file(self, module: Module) -> WeightsFile | None:
        """Where the weights of a module are to be packed; None: in memory."""
        size, room = module.weights_bytes, ROOM * (1 + len(module.kernels) // KERNELS)
        if self._key is not None and size >= LARGE:
            self._part = self._cache.begin_program(room + size)
            if self._part is not None:
                self._weights = WeightsFile(self._part.file, size, room)
        return self._weights

    def keep(self, c: Compilation, program: Program, labels: Labels, files: Files, heard: Heard) -> None:
        """Keep the program of the compilation, made of these files, with what was heard meanwhile."""
        if self._key is None or (found := records(files)) is None:
            return
        more = {"files": found, "warnings": heard}
        if self._part is not None:
            if self._finished(c, program, labels, more):
                self._part.keep_program(self._key)
                return
            self._part.close()  # its room is needed

        def write(file: IO[bytes]) -> None:
            save_program(file, c, program, labels, more=more)

        self._cache.put_program(self._key, program.packed_weights.nbytes + len(c.object.code), write)

    def _finished(self, c: Compilation, program: Program, labels: Labels, more: Mapping[str, Any]) -> bool:
        """Whether the file that has the weights has become a saved program."""
        weights = self._weights
        try:
            return weights is not None and weights.is_filled and save_program(weights, c, program, labels, more=more)
        except OSError:
            return False
