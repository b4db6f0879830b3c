"""Files of one operator each, in each element type: what draws them, and whether netc and LiteRT agree on them.

A module of this package has a table `GENERATORS`: by the name of an operator (and, behind a blank, of a form of it) a
function that draws a file from a `Draw` and an element type. It draws a file for every type: those that LiteRT refuses
tell that LiteRT has no such form. What an input may hold is said where it is made (`Draw.input(..., values=...)`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any

import numpy as np

from ..draw import Draw

Generator = Callable[[Draw, Any], bytes]
"""Draws a file from a source of random numbers and the element type (a class of NumPy) of the operator."""

TYPES: Mapping[str, Any] = {
    "f32": np.float32,
    "i8": np.int8,
    "u8": np.uint8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "bool": np.bool_,
}
"""The columns of the table."""


@cache
def generators() -> Mapping[str, Generator]:
    """The generators of all modules of this package, by name."""
    found: dict[str, Generator] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for name, generator in getattr(importlib.import_module(f"{__name__}.{module}"), "GENERATORS", {}).items():
            if name in found:
                raise ValueError(f"{name} is drawn in two ways")
            found[name] = generator
    return found


def operator_of(name: str) -> str:
    """The operator of a generator, which may draw one of its forms."""
    return name.split()[0]


def drawn(name: str, column: str, seed: int, number: int) -> tuple[Draw, bytes]:
    """File `number` of a generator in an element type: what drew it, and its bytes."""
    d = Draw(Random(f"{name} {column} {seed} {number}"))
    return d, generators()[name](d, TYPES[column])
