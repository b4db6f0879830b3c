"""CIFAR-10: small photographs, in the binary version or in an archive of JPEG files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....compiler.errors import NetcError
from ....compiler.reading import read_bytes
from ..kinds import NamedSet, SampleType
from ..registry import register
from ..source import ArchiveReader, Source

PER_CLASS = {"train": 5000, "test": 1000}
"""Pictures of each class in the archive."""
_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE


@register
class Cifar10(NamedSet):
    """The binary version where it lies; else the archive of JPEG files, in the order of its conversion to binary."""

    name = spelling = home = "cifar10"
    summary = "50,000 and 10,000 small photographs of animals and vehicles"
    origin = "put the files of cifar-10-binary.tar.gz into DATA/cifar10"
    sample = SampleType("uint8", (_SIDE, _SIDE, 3), 0, 255)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    in_memory = True

    def open(self, where: Path, split: str) -> Source:
        """Read the binary version at once; list the archive."""
        names = ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
        homes = [where / "cifar10", where / "cifar10" / "cifar-10-batches-bin", where / "cifar-10-batches-bin"]
        for home in homes:
            if all(os.path.isfile(home / name) for name in names):
                return self._binary([home / name for name in names])
        archive = where / "cifar10" / "cifar10_jpeg.zip"
        self.find([*(home / names[0] for home in homes), archive])
        return self._archive(archive, split)

    def _binary(self, paths: Sequence[Path]) -> Source:
        """Records of a label byte and the red, green and blue planes of 32 x 32 pixels."""
        batches = []
        for path in paths:
            data = np.frombuffer(read_bytes(path, "batch of pictures"), np.uint8)
            if data.size == 0 or data.size % _RECORD or data[::_RECORD].max() > 9:
                raise NetcError(f"{path} is damaged: it does not hold CIFAR-10 records of {_RECORD} bytes")
            batches.append(data.reshape(-1, _RECORD))
        records = np.concatenate(batches)
        planes = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE)
        return self.arrays(records[:, 0], np.ascontiguousarray(planes.transpose(0, 2, 3, 1)))

    def _archive(self, path: Path, split: str) -> Source:
        """SPLIT/CLASS/0000.jpg ..., shuffled as the conversion to binary does: one generator, train split first."""
        shuffle = np.random.RandomState(0)
        order = shuffle.permutation(10 * PER_CLASS["train"])
        if split == "test":
            order = shuffle.permutation(10 * PER_CLASS["test"])
        labels, numbers = np.divmod(order, PER_CLASS[split])
        keys = [f"{split}/{self.classes[c]}/{i:04d}.jpg" for c, i in zip(labels, numbers, strict=True)]
        return self.files(labels.astype(np.int32), keys, ArchiveReader(path))
