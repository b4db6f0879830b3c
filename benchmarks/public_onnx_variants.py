"""Numbers and weights that are moved a little, and weights of half the size, to judge what differs by roundings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from public_verdicts import Array

MOVES = {"f2": 2.0**-11, "f4": 2.0**-20}
"""By how much of themselves numbers are moved, by type: as much as roundings move sums."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "DequantizeLinear")
"""Operators whose second operand is moved."""


def halved_model(path: Path) -> bytes | None:
    """A file whose weights of bytes are half as large, those of the main graph; None if it has none.

    Unsigned ones are taken to be around 128, so that another zero point makes them other weights, for both runtimes.
    """
    model = onnx.load(path)
    arrays = [(t, onnx.numpy_helper.to_array(t)) for t in model.graph.initializer]
    weights = [(t, a) for t, a in arrays if a.dtype in (np.int8, np.uint8) and a.ndim > 1]
    for tensor, array in weights:
        middle = 0 if array.dtype == np.int8 else 128
        half = ((array.astype(np.int32) - middle) // 2 + middle).astype(array.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    return bytes(model.SerializeToString()) if weights else None


def moved_model(path: Path) -> bytes:
    """A file whose weights and scales of floats are moved a little, those of the main graph."""
    model, draw = onnx.load(path), np.random.default_rng(3)
    names = {n.input[1] for n in model.graph.node if n.op_type in WEIGHTED and len(n.input) > 1}
    constants = [n for n in model.graph.node if n.op_type == "Constant" and n.output[0] in names]
    tensors = [t for t in model.graph.initializer if t.name in names]
    for tensor in (*tensors, *(a.t for n in constants for a in n.attribute if a.name == "value")):
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(moved_numbers(draw, array), tensor.name))
    return bytes(model.SerializeToString())


def moved_numbers(draw: np.random.Generator, x: Array) -> Array:
    """Floats that are moved by draws; other numbers as they are."""
    move = MOVES.get(x.dtype.str[1:], 0.0)
    return (x * (1 + draw.uniform(0, 2 * move, x.shape))).astype(x.dtype) if move else x
