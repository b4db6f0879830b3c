"""MNIST: handwritten digits in IDX files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....compiler.archives import check_size, open_packed, read_exactly
from ....compiler.errors import NetcError
from ..kinds import NamedSet, SampleType
from ..registry import register
from ..source import Source


@register
class Mnist(NamedSet):
    """The four official files."""

    name = spelling = home = "mnist"
    summary = "60,000 and 10,000 handwritten digits"
    origin = "put the four official idx files, gzipped or not, into DATA/mnist"
    sample = SampleType("uint8", (28, 28, 1), 0, 255)
    classes = tuple(map(str, range(10)))

    def open(self, where: Path, split: str) -> Source:
        """Read pictures and labels, which are checked against each other."""
        prefix = "t10k" if split == "test" else "train"
        pictures = self._read_idx(where, f"{prefix}-images-idx3-ubyte", 3)
        labels = self._read_idx(where, f"{prefix}-labels-idx1-ubyte", 1)
        if pictures.size == 0:
            raise NetcError(f"data set mnist in {where} is damaged: it holds no pictures")
        if len(pictures) != len(labels) or labels.max(initial=0) > 9:
            raise NetcError(f"data set mnist in {where} is damaged: its labels don't fit its pictures")
        return self.arrays(labels, pictures[..., np.newaxis])

    def _read_idx(self, folder: Path, stem: str, rank: int) -> NDArray[np.uint8]:
        """Read an IDX file of bytes, plain or gzipped: magic number 0x08RR, RR sizes, all big-endian, then values."""
        names = (f"mnist/{stem}.gz", f"mnist/{stem}", f"{stem}.gz", stem)
        path = self.find([folder / name for name in names])
        with open_packed(path) as (stream, limit):
            start = 4 * (1 + rank)
            header = np.frombuffer(stream.read(start).ljust(start, b"\0"), ">u4")
            if header[0] != 0x800 + rank:
                raise NetcError(f"{path} is damaged: it does not start like an IDX file of {rank} dimensions")
            shape = tuple(int(size) for size in header[1:])
            check_size(f"the array in {path}", math.prod(shape), limit)
            return np.frombuffer(read_exactly(stream, math.prod(shape), str(path)), np.uint8).reshape(shape)
