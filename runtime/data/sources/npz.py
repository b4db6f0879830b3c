"""Arrays in files of NumPy."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """`x_train`, `y_train`, `x_test` and `y_test`; `interpretation` says what the samples mean to a net, `targets` what
    belongs to them.
    """

    name = "npz"
    spelling = "FILE.npz"
    summary = "arrays x_train, y_train, x_test and y_test"

    def path(self, text: str) -> Path | None:
        """The file."""
        return Path(os.path.expanduser(text)) if text.endswith(_ENDING) else None

    def open(self, where: Path, split: str) -> ArraySource:
        """Read samples and targets; those of both splits must be of one kind."""
        with _archive(where) as archive:
            _require(where, archive, f"x_{split}", f"y_{split}")
            values = archive.array(f"x_{split}")
            targets = {s: archive.array(f"y_{s}") for s in SPLITS if f"y_{s}" in archive.arrays}
        checked = {s: _checked(f"y_{s} in {where}", array) for s, array in targets.items()}
        _check_alike(where, list(checked.values()))
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


def _checked(name: str, array: NDArray[Any]) -> Labels:
    """Targets [n, ...] of finite numbers; a column of whole ones are class numbers [n], int32 where they fit."""
    if array.ndim == 0 or array.dtype.kind not in "iufb":
        raise NetcError(f"{name} must hold numbers, one or more for each sample, not {_described(array)}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            place = int(np.argwhere(~np.isfinite(array))[0][0])
            raise NetcError(f"{name} holds an infinity or a NaN, the first for sample {place}")
        return array
    narrow = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    limits = np.iinfo(np.int32)
    fits = limits.min <= narrow.min(initial=0) <= narrow.max(initial=0) <= limits.max
    return narrow.astype(np.int32) if fits else narrow


def _check_alike(path: Path, targets: Sequence[Labels]) -> None:
    """Refuse splits whose targets have other shapes, or are numbers of another kind."""
    kinds = {(array.shape[1:], array.dtype.kind == "f") for array in targets}
    if len(kinds) > 1:
        which = " and y_test ".join(map(_described, targets))
        raise NetcError(f"{path}: targets of its splits don't mean the same: y_train {which}")


def _facts(name: str, values: NDArray[Any], labels: Labels) -> Facts:
    if values.ndim < 2 or len(values) != len(labels) or len(values) == 0:
        raise NetcError(f"{name} is {_described(values)}, which doesn't fit its {len(labels)} labels")
    return Facts.of(name, values)


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
