"""Networks that naive 8-bit quantization breaks, though they compute what they did.

A positive factor passes through relu: a channel is multiplied by it in one layer and divided by it in the next. With
other factors for each channel, one scale for an activation (or for a weight) holds the large channels only. Batch
normalisation, folded, leaves networks like that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]

NEIGHBOURS: Mapping[str, Sequence[tuple[str, str]]] = {
    "mlp_mnist": (("fc1", "fc2"), ("fc2", "fc3")),
    "cnn_mnist": (("conv1", "conv2"), ("fc1", "fc2"), ("fc2", "fc3")),
    "cnn_cifar": (("conv1", "conv2"), ("conv3", "conv4"), ("fc1", "fc2"), ("fc2", "fc3")),
}
"""Layers of shipped nets with nothing but relu between them."""
SPREAD = 4.0
"""Factors go from 2^-SPREAD to 2^SPREAD."""


def uneven(weights: Weights, neighbours: Sequence[tuple[str, str]], spread: float = SPREAD) -> Weights:
    """Weights (in the graph's layout) of the same network, with channels of very different size between neighbours."""
    random = np.random.default_rng(0)
    changed = dict(weights)
    for first, second in neighbours:
        channels = changed[f"{first}.bias"].size
        factors = (2.0 ** random.permutation(np.linspace(-spread, spread, channels))).astype(np.float32)
        changed[f"{first}.weight"] = changed[f"{first}.weight"] * factors
        changed[f"{first}.bias"] = changed[f"{first}.bias"] * factors
        changed[f"{second}.weight"] = changed[f"{second}.weight"] / factors[:, np.newaxis]
    return changed
