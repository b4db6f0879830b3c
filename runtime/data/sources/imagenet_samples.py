"""One photograph of each class of ILSVRC-2012."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ....compiler.errors import NetcError
from ..kinds import NamedSet, SampleType
from ..registry import register
from ..source import ArchiveReader, Source


@register
class ImagenetSamples(NamedSet):
    """images.zip, and labels.csv with the columns file, wnid, class, name."""

    name = spelling = "imagenet-samples"
    home = "imagenet_samples"
    summary = "a photograph of each of the 1,000 classes of ImageNet"
    origin = "put images.zip and labels.csv (file,wnid,class,name) into DATA/imagenet_samples"
    splits = ("test",)
    sample = SampleType("uint8", (None, None, 3), 0, 255)
    classes = 1000

    def open(self, where: Path, split: str) -> Source:
        """Read the table of labels; pictures are looked for when they are read."""
        archive = self.find([where / self.home / "images.zip"])
        table = self.find([where / self.home / "labels.csv"])
        try:
            with table.open(encoding="utf-8", newline="") as stream:
                rows = [(row["file"], int(row["class"])) for row in csv.DictReader(stream)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            rows = []
        if not rows or not all(0 <= label < self.classes for _, label in rows):
            raise NetcError(f"{table} is damaged: it must have the columns file,wnid,class,name and classes 0 to 999")
        labels = np.array([label for _, label in rows], np.int32)
        return self.files(labels, [file for file, _ in rows], ArchiveReader(archive))
