"""Inputs and outputs as emulated machines read and write them: one after the other, as they lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netc.compiler.graph.ir import Array
from netc.compiler.library.interface import Interface


def joined(arrays: Sequence[Array]) -> bytes:
    """The bytes of all arrays."""
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def outputs_of(interface: Interface, data: bytes) -> tuple[Array, ...]:
    """The outputs with which data begins."""
    arrays, start = [], 0
    for tensor in interface.outputs:
        type_ = tensor.type
        arrays.append(np.frombuffer(data, type_.dtype.numpy, type_.size, start).reshape(type_.shape))
        start += type_.bytes
    return tuple(arrays)
