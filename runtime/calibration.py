"""Pictures to calibrate with: from a folder, from a ZIP archive or from a data set, spread over it evenly."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Array, Graph
from .datasets import load_dataset
from .images import Pixels, Preprocess, decode

Item = TypeVar("Item")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Endings of files that are taken for pictures."""


def calibration_inputs(
    graph: Graph, source: str | os.PathLike[str], limit: int = 100, data_dir: str | os.PathLike[str] | None = None
) -> Iterator[Array]:
    """Inputs float32 [N, H, W, C] of a graph, made of up to `limit` pictures as its `preprocess` declares.

    `source` is a folder or a ZIP archive of pictures, or the name of a data set (of which the first ones are taken); of
    more files than `limit`, every n-th is taken. A last batch that would not be full is left out, unless it is the only
    one. Raises `NetcError` if there are no pictures.
    """
    preprocess = Preprocess.of(graph)
    size = graph.inputs[0].type.shape[0]
    pictures = calibration_pictures(source, limit, data_dir)
    found = False
    while chunk := [preprocess(picture) for picture in islice(pictures, size)]:
        if len(chunk) < size and found:
            return
        found = True
        yield np.stack([chunk[i % len(chunk)] for i in range(size)])
    if not found:
        raise NetcError(f"there are no pictures in {source}")


def calibration_pictures(
    source: str | os.PathLike[str], limit: int = 100, data_dir: str | os.PathLike[str] | None = None
) -> Iterator[Pixels]:
    """The pictures that `calibration_inputs` takes, as they are."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if files:
            return (decode(file) for file in _spread(files, limit))
        archives = sorted(path.glob("*.zip"))
        if len(archives) != 1:
            raise NetcError(f"folder {path} holds neither pictures nor one ZIP archive of them")
        path = archives[0]
    if path.is_file():
        return _archived(path, limit)
    return (picture for picture, _ in islice(load_dataset(str(source), data_dir), limit))


def _archived(path: Path, limit: int) -> Iterator[Pixels]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES)
            for name in _spread(names, limit):
                yield decode(archive.read(name), f"{name} in {path}")
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise NetcError(f"{path} is not an archive of pictures, or is damaged: {error}") from None


def _spread(items: Sequence[Item], limit: int) -> list[Item]:
    """Up to `limit` items, evenly spaced."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]
