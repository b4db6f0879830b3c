"""Bias correction: the mean of what quantization does to a layer's results goes into its integer bias.

Rounding shifts the sums of a layer by the same amount for all inputs that are alike, which later layers see as a shift
of their input. Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2, with means measured on samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .layers import IntegerLayer, Rows
from .scales import BIAS_LIMIT


def corrected_bias(layer: IntegerLayer, rows: Rows, rounded: NDArray[np.int8]) -> NDArray[np.int32]:
    """The bias i32 [F] with which an integer weight gives the float results' mean over `rows`, for each filter."""
    mean = layer.error(rows.x, rows.y, rounded, layer.bias).astype(np.float64).mean(axis=0)
    steps = np.rint(mean / (layer.scales * layer.x.scale))
    bias: NDArray[np.int32] = np.clip(layer.bias + steps, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    return bias
