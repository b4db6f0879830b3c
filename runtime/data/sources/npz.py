"""Arrays in files of NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....compiler.archives import Archive
from ....compiler.errors import NetcError
from ..interpretation import Facts
from ..kinds import SPLITS, PathKind
from ..registry import register
from ..source import ArraySource, Labels

_ENDING = ".npz"


@register
class Arrays(PathKind):
    """`x_train`, `y_train`, `x_test` and `y_test`; `interpretation` says what the numbers mean to a net."""

    name = "npz"
    spelling = "FILE.npz"
    summary = "arrays x_train, y_train, x_test and y_test"

    def path(self, text: str) -> Path | None:
        """The file."""
        return Path(os.path.expanduser(text)) if text.endswith(_ENDING) else None

    def open(self, where: Path, split: str) -> ArraySource:
        """Read samples and labels; labels of both splits must be class numbers."""
        with _archive(where) as archive:
            _require(where, archive, f"x_{split}", f"y_{split}")
            values = archive.array(f"x_{split}")
            labels = {s: archive.array(f"y_{s}") for s in SPLITS if f"y_{s}" in archive.arrays}
        checked = {s: _class_numbers(f"y_{s} in {where}", array) for s, array in labels.items()}
        facts = _facts(f"x_{split} in {where}", values, checked[split])
        return ArraySource(where.name, None, checked[split], values, facts=facts)

    def samples(self, where: Path) -> ArraySource:
        """Samples alone: calibration needs no labels."""
        hint = "in Python an array is handed over: netc.quantize(net, calibration=array)"
        with _archive(where) as archive:
            _require(where, archive, "x_test", cure=hint)
            values = archive.array("x_test")
        labels = np.zeros(len(values) if values.ndim else 0, np.int32)
        facts = _facts(f"x_test in {where}", values, labels)
        return ArraySource(where.name, None, labels, values, facts=facts)


def _archive(path: Path) -> Archive:
    if not os.path.exists(path):
        raise NetcError(f"there is no data file {path}", hint=f"looked for {path.absolute()}")
    return Archive(path, what="data file (.npz)")


def _require(path: Path, archive: Archive, *wanted: str, cure: str | None = None) -> None:
    names = archive.arrays
    if missing := [name for name in wanted if name not in names]:
        has = "it has " + ", ".join(names)
        raise NetcError(f"{path} has no {' and no '.join(missing)}", hint=f"{has}; {cure}" if cure else has)


def _class_numbers(name: str, array: NDArray[Any]) -> Labels:
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim == 1 and labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        place = int(np.argmin(labels))
        raise NetcError(f"{name} holds {labels[place]} at {place}: classes are numbered from 0 on")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        hint = "labels of other kinds are for Python: netc.compile_training(...).step(x, labels)"
        raise NetcError(f"{name} must hold one class number for each sample, not {_described(array)}", hint=hint)
    if labels.max(initial=0) > np.iinfo(np.int32).max:
        raise NetcError(f"{name} holds class numbers as large as {labels.max()}")
    return labels.astype(np.int32)


def _facts(name: str, values: NDArray[Any], labels: Labels) -> Facts:
    if values.ndim < 2 or len(values) != len(labels) or len(values) == 0:
        raise NetcError(f"{name} is {_described(values)}, which doesn't fit its {len(labels)} labels")
    return Facts.of(name, values)


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
