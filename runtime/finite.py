"""Arrays of which every number is finite, and the first that is none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def not_finite(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """The name of the first array that holds an infinity or a NaN; None if there is none."""
    return next((name for name, array in arrays.items() if not is_finite(array)), None)


def is_finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
