"""Reductions, positions of extremes and cumulative sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..draw import Draw, Values
from . import Generator
from .parts import file, scale_of, size_of


def _reduce(name: str, *, rescales: bool = False, values: Values = None) -> Generator:
    """Over axes that may be negative, repeated or all of them."""

    def make(d: Draw, dtype: Any) -> bytes:
        shape = d.shape(d.r.randint(1, 5), 9)
        axes = sorted(d.r.sample(range(len(shape)), d.r.randint(0 if d.r.random() < 0.1 else 1, len(shape))))
        keep = d.flip()
        result = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        given = scale_of(d, dtype)
        y = scale_of(d, dtype, size_of(given)) if rescales and d.r.random() < 0.7 else given
        spelled = [a - len(shape) if d.r.random() < 0.3 else a for a in axes]
        if axes and d.r.random() < 0.1:
            spelled.append(axes[0])
        numbers = np.array(spelled[0] if len(spelled) == 1 and d.r.random() < 0.2 else spelled, np.int32)
        x, axis = d.input(shape, dtype, given, values), d.constant(numbers)
        return file(d, name, [x, axis], [d.tensor(result, dtype, y)], ("ReducerOptions", {"KeepDims": keep}))

    return make


def _position(name: str, table: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        shape = d.shape(d.r.randint(1, 5))
        axis, wide = d.r.randrange(len(shape)), d.flip()
        spelled = axis - len(shape) if d.r.random() < 0.3 else axis
        x = d.input(shape, dtype, scale_of(d, dtype), "no NaN")
        place = d.constant(np.array(spelled, d.r.choice((np.int32, np.int64))))
        y = d.tensor(shape[:axis] + shape[axis + 1 :], np.int64 if wide else np.int32, None)
        return file(d, name, [x, place], [y], (table, {"OutputType": 4 if wide else 2}))

    return make


def _cumsum(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 5)), scale_of(d, dtype)
    axis = d.r.randrange(-len(shape), len(shape))
    x, place = d.input(shape, dtype, given, "finite"), d.constant(np.array(axis, np.int32))
    fields = {"Exclusive": d.flip(), "Reverse": d.flip()}
    return file(d, "CUMSUM", [x, place], [d.tensor(shape, dtype, given)], ("CumsumOptions", fields))


GENERATORS: Mapping[str, Generator] = {
    "ARG_MAX": _position("ARG_MAX", "ArgMaxOptions"),
    "ARG_MIN": _position("ARG_MIN", "ArgMinOptions"),
    "CUMSUM": _cumsum,
    "MEAN": _reduce("MEAN", rescales=True, values="finite"),
    "REDUCE_ALL": _reduce("REDUCE_ALL"),
    "REDUCE_ANY": _reduce("REDUCE_ANY"),
    "REDUCE_MAX": _reduce("REDUCE_MAX", values="no NaN"),
    "REDUCE_MIN": _reduce("REDUCE_MIN", values="no NaN"),
    "REDUCE_PROD": _reduce("REDUCE_PROD", rescales=True, values="finite"),
    "SUM": _reduce("SUM", rescales=True, values="finite"),
}
