"""Contractions of floats with 8-bit weights, where LiteRT quantizes the floats while the model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw
from . import Generator
from .contractions import GENERATORS as CONTRACTIONS
from .parts import ACTIVATIONS, file


def _weight(d: Draw, shape: Sequence[int], axis: int, *, by_filter: bool = True) -> int:
    count = shape[axis]
    scales = [float(np.float32(2.0 ** d.r.uniform(-12, -4))) for _ in range(count if by_filter and d.flip() else 1)]
    numbers = np.maximum(d.integers(np.int8, shape), -127)
    return d.m.constant("weight", numbers, scale=scales, axis=axis)


def _bytes(name: str, place: int, axis: int) -> Generator:
    """A float contraction whose weight, input `place`, becomes one of 8 bits."""

    def make(d: Draw, dtype: Any) -> bytes:
        CONTRACTIONS[name](d, dtype)
        (operator,) = d.m.operators
        if dtype is np.float32:
            old = operator["inputs"][place]
            new = _weight(d, d.m.tensors[old]["shape"], axis)
            operator["inputs"] = [new if i == old else i for i in operator["inputs"]]
            d.values[:] = ["finite"] * len(d.values)
            if name == "FULLY_CONNECTED":
                table, fields = operator["options"]
                operator["options"] = table, {**fields, "AsymmetricQuantizeInputs": d.flip()}
        return d.m.data(d.inputs, operator["outputs"])

    return make


def _packed(make: Generator, dtype_of_column: Any = np.float32, bits: int = 4) -> Generator:
    """The same with weights of 4 or 2 bits, several of which share a byte."""

    def changed(d: Draw, dtype: Any) -> bytes:
        make(d, dtype)
        (operator,) = d.m.operators
        tensor = d.m.tensors[operator["inputs"][1]]
        if dtype is dtype_of_column and tensor["data"] is not None:
            high = (1 << bits - 1) - 1
            shape = tensor["data"].shape
            numbers = np.random.default_rng(d.r.getrandbits(30)).integers(-high, high + 1, shape, np.int8)
            count = 8 // bits
            flat = numbers.reshape(-1).view(np.uint8) & (1 << bits) - 1
            flat = np.pad(flat, (0, -flat.size % count)).reshape(-1, count)
            packed = sum(flat[:, i].astype(np.uint8) << bits * i for i in range(count))
            tensor.update(data=np.asarray(packed, np.uint8), code={4: 17, 2: 19}[bits])
        return d.m.data(d.inputs, operator["outputs"])

    return changed


def _batch_matmul(d: Draw, dtype: Any) -> bytes:
    m, k, n = d.r.choice((1, 2, 5, 16)), d.r.choice((1, 3, 8, 40)), d.r.choice((1, 2, 7, 16))
    turned = d.flip()
    lead = d.r.choice(((), (1,), (3,)))
    x = d.input((*lead, m, k), dtype, None, "finite")
    weight = _weight(d, (*lead, *((n, k) if turned else (k, n))), 0, by_filter=False)
    options = ("BatchMatMulOptions", {"AdjX": False, "AdjY": turned, "AsymmetricQuantizeInputs": d.flip()})
    return file(d, "BATCH_MATMUL", [x, weight], [d.tensor((*lead, m, n), dtype, None)], options)


def _local_response(d: Draw, dtype: Any) -> bytes:
    """LiteRT's reference kernel leaves out the last of a channel's neighbours, so that a radius of 0 has none."""
    shape = d.shape(4, 9)
    fields = {"Radius": d.r.choice((1, 2, 5)), "Bias": d.r.choice((1.0, 2.0, 0.5))}
    fields |= {"Alpha": d.r.choice((1.0, 0.5, 1e-3)), "Beta": d.r.choice((0.5, 1.0, 0.75))}
    x = d.input(shape, dtype, None, "finite")
    options = ("LocalResponseNormalizationOptions", fields)
    return file(d, "LOCAL_RESPONSE_NORMALIZATION", [x], [d.tensor(shape, dtype, None)], options)


def _dense_again(d: Draw, dtype: Any) -> bytes:
    """Rows longer than a vector of the processor, and some of them zero."""
    rows, inputs, units = d.r.choice((1, 3, 8)), d.r.choice((64, 67, 200)), d.r.choice((1, 5, 32))
    x = d.input((rows, inputs), dtype, None, "finite")
    weight = _weight(d, (units, inputs), 0)
    fields = {"FusedActivationFunction": d.r.choice(ACTIVATIONS), "AsymmetricQuantizeInputs": d.flip()}
    options = ("FullyConnectedOptions", fields)
    return file(d, "FULLY_CONNECTED", [x, weight, -1], [d.tensor((rows, units), dtype, None)], options)


GENERATORS: Mapping[str, Generator] = {
    "CONV_2D hybrid of 4 bits": _packed(_bytes("CONV_2D", 1, 0)),
    "FULLY_CONNECTED hybrid of 2 bits": _packed(_bytes("FULLY_CONNECTED", 1, 0), bits=2),
    "FULLY_CONNECTED hybrid of 4 bits": _packed(_bytes("FULLY_CONNECTED", 1, 0)),
    "FULLY_CONNECTED of 4 bits": _packed(CONTRACTIONS["FULLY_CONNECTED"], np.int8),
    "CONV_2D of 4 bits": _packed(CONTRACTIONS["CONV_2D"], np.int8),
    "DEPTHWISE_CONV_2D of 4 bits": _packed(CONTRACTIONS["DEPTHWISE_CONV_2D"], np.int8),
    "DEPTHWISE_CONV_2D hybrid of 4 bits": _packed(_bytes("DEPTHWISE_CONV_2D", 1, 3)),
    "BATCH_MATMUL hybrid": _batch_matmul,
    "CONV_2D hybrid": _bytes("CONV_2D", 1, 0),
    "DEPTHWISE_CONV_2D hybrid": _bytes("DEPTHWISE_CONV_2D", 1, 3),
    "FULLY_CONNECTED hybrid": _bytes("FULLY_CONNECTED", 1, 0),
    "FULLY_CONNECTED long and hybrid": _dense_again,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "TRANSPOSE_CONV hybrid": _bytes("TRANSPOSE_CONV", 1, 0),
}
"""What draws each of them."""
