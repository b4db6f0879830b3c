"""Bias correction: the mean of what quantization does to a layer's results goes into its integer bias.

Rounding shifts the sums of a layer by the same amount for all inputs that are alike, which later layers see as a shift
of their input. Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2, with means measured on samples.

`shift_of_rounding` needs no more than the mean of each channel in the float network. `corrected_bias` takes the error
as it is behind the integers of all layers before, so it needs the integer network's results as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph.ir import Array, Operation
from ..ops.products.dense import Dense
from ..ops.windows.window import window_of
from .layers import IntegerLayer, Rows
from .scales import BIAS_LIMIT, row_blocks


def corrected_bias(layer: IntegerLayer, rows: Rows, rounded: NDArray[np.int8]) -> NDArray[np.int32]:
    """The bias i32 [F] with which an integer weight gives the float results' mean over `rows`, for each filter."""
    mean = layer.error(rows.x, rows.y, rounded, layer.bias).astype(np.float64).mean(axis=0)
    steps = np.rint(mean / (layer.scales * layer.x.scale))
    bias: NDArray[np.int32] = np.clip(layer.bias + steps, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    return bias


def shift_of_rounding(op: Operation, error: Array, means: Array) -> NDArray[np.float64]:
    """What an error of a weight adds to the mean of each filter's results [F], of channels with these means [C].

    `op` is the convolution or dense layer; `error` has the shape of its weight. A tap of a filter that often lies over
    the padding, which is 0, counts as often less.
    """
    channels: NDArray[np.float64] = np.asarray(means, np.float64)
    if isinstance(op.operator, Dense):
        parts = (channels[part] @ error[part].astype(np.float64) for part in row_blocks(error))
        return sum(parts, np.zeros(error.shape[-1]))
    spatial = op.operands[0].type.shape[1:-1]
    kernel = error.shape[: len(spatial)]
    window = window_of(op.name, spatial, kernel, op.attributes)
    inside = window.patches(np.ones((1, *spatial, 1)), 0.0)  # [1, output..., 1, kernel...]
    share = inside.mean(axis=tuple(range(len(spatial) + 2)))
    groups = op.attributes["groups"]
    split = error.reshape(-1, len(channels) // groups, groups, error.shape[-1] // groups)
    sums: NDArray[np.float64] = np.einsum("k,kcgf,gc->gf", share.reshape(-1), split, channels.reshape(groups, -1))
    return sums.reshape(-1)
