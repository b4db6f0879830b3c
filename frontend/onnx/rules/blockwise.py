"""Weights of 2 to 8 bits whose blocks have scales of their own, as files of language models hold them.

Source: ONNX Runtime's list of contributed operators. Weights become floats while the file is read.
"""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from ..tensors import plain
from .contributed import DOMAIN
from .convolutions import product
from .indexing import gather_slices

_NORMAL = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The numbers of NF4. Source: Dettmers, Pagnoni, Holtzman and Zettlemoyer, "QLoRA", 2023."""
_FLOATS = (0.0, 0.0052083333, 0.6666667, 1.0, 0.3333333, 0.5, 0.1666667, 0.25)
"""The numbers of FP4 that are not negative, as ONNX Runtime has them: shares of the largest."""


def _unpacked(packed: Array, bits: int) -> Array:
    """Bytes [..., n] as the numbers [..., n * 8 / bits] in them, those of the low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], packed.shape[-1] * len(shifts))


def _bits(c: Node) -> int:
    bits = int(c.attribute("bits", 4))
    if bits not in (2, 4, 8):
        c.unsupported(f"numbers of {bits} bits are not supported")
    return bits


@onnx("MatMulNBits", domain=DOMAIN)
def matmul_n_bits(c: Node) -> Value:
    """Floats times a transposed matrix of whole numbers, of which each block along a row has a scale and a zero point.

    ONNX Runtime may round the floats to bytes where `accuracy_level` lets it; netc doesn't.
    """
    c.ignore("accuracy_level", "weight_prepacked")
    if c.has(4):
        c.unsupported("an order of columns (`g_idx`) is not supported")
    bits, inputs, outputs = _bits(c), int(c.needed("K")), int(c.needed("N"))
    size = int(c.needed("block_size"))
    if min(inputs, outputs, size) < 1:
        c.unsupported(f"a matrix of {outputs} x {inputs} in blocks of {size}")
    blocks = -(-inputs // size)
    whole = _unpacked(c.constant(1).reshape(outputs, blocks, -1), bits)[..., :size].astype(np.float32)
    scales = plain(c.constant(2), DType.F32).reshape(outputs, blocks, 1)
    weight = (whole - _zero_points(c, bits, outputs, blocks)) * scales
    weight = weight.reshape(outputs, blocks * size)[:, :inputs]
    x = c.value(0)
    y = product(c, x, c.made(np.ascontiguousarray(weight.T).astype(x.type.dtype.numpy)), is_weight=True)
    return c.emit("add", y, c.value(5)) if c.has(5) else y


def _zero_points(c: Node, bits: int, outputs: int, blocks: int) -> Array:
    """The numbers that stand for zero, one for each block."""
    if not c.has(3):
        return np.full((1, 1, 1), 1 << (bits - 1), np.float32)
    zero = c.constant(3)
    if zero.dtype == np.uint8:
        zero = _unpacked(zero.reshape(outputs, -1), bits)[:, :blocks]
    return plain(zero, DType.F32).reshape(outputs, blocks, 1)


@onnx("MatMulBnb4", domain=DOMAIN)
def matmul_bnb4(c: Node) -> Value:
    """Floats times a transposed matrix of numbers out of 16, of which each block has a largest magnitude."""
    c.ignore("training_mode")
    inputs, outputs, size = (int(c.needed(name)) for name in ("K", "N", "block_size"))
    kind = int(c.needed("quant_type"))
    if kind not in (0, 1) or not c.flag("transB", True):
        c.unsupported(f"`quant_type` {kind} or a matrix that isn't transposed is not supported")
    numbers = np.array(_NORMAL if kind else (*_FLOATS, *(-n for n in _FLOATS)), np.float32)
    packed = c.constant(1).reshape(-1)
    places = np.stack((packed >> 4, packed & 15), axis=-1).reshape(-1)[: inputs * outputs]
    largest = np.repeat(plain(c.constant(2), DType.F32).reshape(-1), size)[: inputs * outputs]
    weight = (numbers[places] * largest).reshape(outputs, inputs)
    x = c.value(0)
    return product(c, x, c.made(np.ascontiguousarray(weight.T).astype(x.type.dtype.numpy)), is_weight=True)


@onnx("GatherBlockQuantized", domain=DOMAIN)
def gather_block_quantized(c: Node) -> Value:
    """Slices of a table of whole numbers, of which each block along an axis has a scale and a zero point, as floats."""
    bits, size, data = _bits(c), int(c.attribute("block_size", 128)), c.constant(0)
    is_packed = data.dtype == np.uint8
    table = plain(_unpacked(data, bits) if is_packed else data, DType.F32)
    axis = c.axis(int(c.attribute("quantize_axis", 1)), table.ndim)
    count, dtype = table.shape[axis], c.type(2).dtype
    if is_packed and axis != table.ndim - 1:
        c.unsupported("bytes with several numbers whose blocks lie along another axis than the last are not supported")
    scales = _over_blocks(plain(c.constant(2), DType.F32), axis, size, count)
    zero = np.array(1 << (bits - 1) if is_packed else 0, np.float32)
    if c.has(3):
        given = c.constant(3)
        given = _unpacked(given, bits)[..., : -(-count // size)] if given.dtype == np.uint8 else given
        zero = _over_blocks(plain(given, DType.F32), axis, size, count)
    made = c.made(((table - zero) * scales).astype(dtype.numpy))
    return gather_slices(c, made, int(c.attribute("gather_axis", 0)))


def _over_blocks(numbers: Array, axis: int, size: int, count: int) -> Array:
    """One number for each block along an axis as one for each element."""
    return np.repeat(numbers, size, axis=axis).take(np.arange(count), axis=axis)
