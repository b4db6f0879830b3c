"""What integers stand for, as tensors beside the weights of a file: `NAME.scales` and `NAME.zero_points`.

Scales are f32 and zero points i32, missing where all are 0. Without dimensions they hold for a whole weight, as a list
along one of its dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NetcError
from .types import Quantization

Array = NDArray[Any]

SCALES, ZERO_POINTS = ".scales", ".zero_points"
"""What is added to a weight's name."""


def stored_quantization(name: str, quantization: Quantization) -> Mapping[str, Array]:
    """The tensors that say what the integers of the weight `name` stand for."""
    shape = () if quantization.axis is None else (len(quantization.scales),)
    tensors: dict[str, Array] = {name + SCALES: np.array(quantization.scales, np.float32).reshape(shape)}
    if any(quantization.zero_points):
        tensors[name + ZERO_POINTS] = np.array(quantization.zero_points, np.int32).reshape(shape)
    return tensors


def read_quantization(name: str, axis: int, tensors: Mapping[str, Array]) -> Quantization | None:
    """What tensors say about the weight `name`, a list along `axis`; None if nothing.

    Raises `NetcError` for tensors of other types or shapes.
    """
    scales, zeros = tensors.get(name + SCALES), tensors.get(name + ZERO_POINTS)
    if scales is None:
        return None
    is_fit = zeros is None or (zeros.dtype == np.int32 and zeros.shape == scales.shape)
    if scales.dtype != np.float32 or scales.ndim > 1 or not is_fit:
        raise NetcError(f"the scales of `{name}` must be f32, a number or a list, with zero points i32 like them")
    points = tuple(map(int, zeros.reshape(-1))) if zeros is not None else (0,) * scales.size
    return Quantization(tuple(map(float, scales.reshape(-1))), points, axis if scales.ndim else None)
