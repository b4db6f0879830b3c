"""The order of dimensions of pictures: samples have channels last; inputs of some networks take them first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.signature import Network
from ...compiler.types import TensorType


def channels_first(type: TensorType) -> bool:  # noqa: A002 (the field's own word)
    """True for an input of pictures [N, 1 or 3, H, W]; where the last dimension is 1 or 3, too, channels come last."""
    return type.rank == 4 and type.shape[3] not in (1, 3) and type.shape[1] in (1, 3)


def map_channels_first(graph: Network, number: int = 0) -> bool:
    """True if an output holds scores of pixels as [N, classes, H, W]: files whose pictures have that order keep it."""
    picture, scores = graph.inputs[0].type, graph.results[number].type
    if not channels_first(picture) or scores.rank != 4:
        return False
    height, width = picture.shape[2:]
    # The map is as wide for its height as the picture; where both orders fit, it has the picture's.
    behind, before = (abs(width * h - height * w) for h, w in (scores.shape[2:], scores.shape[1:3]))
    return behind <= before


def sample_shape(graph: Network) -> tuple[int, ...]:
    """The shape of a sample for the first input; that of a picture is [H, W, C], however the input takes it."""
    type_ = graph.inputs[0].type
    shape = type_.shape[1:]
    return (*shape[1:], shape[0]) if channels_first(type_) else shape


def laid_out(values: NDArray[Any], type: TensorType) -> NDArray[Any]:  # noqa: A002 (the field's own word)
    """Pictures [..., H, W, C] in the order of dimensions that an input takes; what has that order stays.

    Inputs of rank 3 take grey pictures without a dimension of channels.
    """
    if type.rank == 3 and values.shape != type.shape and values.shape[-3:] == (*type.shape[1:], 1):
        return values[..., 0]
    if not channels_first(type) or values.ndim < 3 or values.shape[-3:] == type.shape[1:]:
        return values
    return np.ascontiguousarray(np.moveaxis(values, -1, -3))


def as_input(values: NDArray[np.float32], type: TensorType) -> NDArray[Any]:  # noqa: A002 (the field's own word)
    """Samples as elements of an input: floats stay, integers are rounded, quantized ones by their scale.

    Pictures [..., H, W, C] are transposed for an input that takes channels first.
    """
    values = laid_out(values, type)
    if type.dtype.is_float:
        return values.astype(type.dtype.numpy, copy=False)
    given = type.quantization
    scaled = values.astype(np.float64) if given is None else values / np.float64(given.scale) + given.zero_point
    limits = np.iinfo(str(type.dtype.numpy))
    integers: NDArray[Any] = np.clip(np.floor(scaled + 0.5), limits.min, limits.max).astype(type.dtype.numpy)
    return integers
