"""The weights region of a module, filled: what the set-up graph gives, where the kernels will read it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..arrays import aligned_bytes
from ..errors import InternalError
from ..graph.interpreter import evaluate_outputs
from ..graph.ir import Array
from ..modules.module import Module


def pack_weights(module: Module, params: Mapping[str, Array], region: Array | None = None) -> Array:
    """The weights region: the outputs of the set-up graph, one after the other so that few are in memory at a time.

    `region` is one to fill again.
    """
    if region is None:
        region = aligned_bytes(module.weights_bytes)
    produced = evaluate_outputs(module.setup, params)
    for offset, array in zip(module.weight_offsets, produced, strict=True):
        end = offset + array.nbytes
        if end > module.weights_bytes:
            raise InternalError(f"packed weight at {offset} ends at {end}, beyond {module.weights_bytes} bytes")
        region[offset:end] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return region
