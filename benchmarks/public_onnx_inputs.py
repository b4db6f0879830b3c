"""Inputs for an ONNX file that says little about them: sizes that it leaves open, and numbers that make sense.

Sizes and numbers are guessed from names, ranks and element types; where a runtime refuses the guess, others are tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from public_verdicts import Array, Calls

BATCH = re.compile(r"n|b|bs|.*batch.*", re.IGNORECASE)
STATES = re.compile(r"(.*_)?(state|hidden|cell|[hc](0|n|_0|_n|_in)?)([_.]?(in|\d+))?", re.IGNORECASE)
"""Names of states of recurrent layers, whose second size is the number of samples."""
OTHER_SIZES = (16, 32, 64, 128, 224, 256, 320, 416, 512, 640, 1, 2, 8, 80, 1000, 16000)
"""What all open sizes but those of samples and channels are tried with, after the guess."""
WEIGHTS = 8
"""How many sizes of weights are tried, too."""
LARGEST_INTEGERS = (9, 1, 0)
"""Integers of 32 and 64 bits are drawn from 0 to these, one after the other."""
PICTURE, LINE, TOKENS, STATE = (64, 96), 160, 16, 8
"""Height and width of pictures, the width of a line of text, the length of sequences, and that of what is past."""
RATE = 16000


@dataclass(frozen=True)
class Input:
    """An input of a file; open sizes are names, as netc's settings take them."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]

    @property
    def is_picture(self) -> bool:
        """True for four dimensions of floats or bytes."""
        return len(self.shape) == 4 and (self.dtype.kind == "f" or self.dtype.itemsize == 1)


def inputs_of(path: Path) -> list[Input]:
    """The inputs of a file that have no value in it. Raises `ValueError` for one that is no tensor of numbers."""
    graph = onnx.load(path, load_external_data=False).graph
    known = {tensor.name for tensor in graph.initializer}
    return [_input(info) for info in graph.input if info.name not in known]


def _input(info: Any) -> Input:
    if info.type.WhichOneof("value") != "tensor_type" or not info.type.tensor_type.HasField("shape"):
        raise ValueError(f"the input {info.name} is no tensor with a shape")
    tensor = info.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if dtype.kind not in "fiubc":
        raise ValueError(f"no numbers to draw for inputs of type {onnx.TensorProto.DataType.Name(tensor.elem_type)}")
    dims = enumerate(tensor.shape.dim)
    return Input(info.name, dtype, tuple(_size(info.name, axis, dim) for axis, dim in dims))


def _size(owner: str, axis: int, dim: Any) -> int | str:
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or f"{owner}_{axis}"


# ---- sizes ----------------------------------------------------------------------------------------------------------


def sizes_of_weights(path: Path) -> list[int]:
    """The sizes of the first matrices of a file: what its inputs may have to fit."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    found = [n for tensor in tensors if len(tensor.dims) == 2 for n in tensor.dims if n not in OTHER_SIZES]
    return list(dict.fromkeys(found))[:WEIGHTS]


def sizes_to_try(inputs: Sequence[Input], more: Sequence[int] = ()) -> Iterator[dict[str, int]]:
    """Values for all open sizes, the likeliest first; `more` are tried beside the common ones."""
    first: dict[str, int] = {}
    fixed: set[str] = set()
    for x in inputs:
        for axis, name in enumerate(x.shape):
            if isinstance(name, str) and name not in first:
                first[name], is_fixed = _guess(x, axis, name)
                fixed |= {name} if is_fixed else set()
    yield _with_sums(first)
    for size in (*OTHER_SIZES, *more) if len(fixed) < len(first) else ():
        yield _with_sums({name: n if name in fixed else size for name, n in first.items()})


def _guess(x: Input, axis: int, name: str) -> tuple[int, bool]:
    """A size, and whether it is to stay when others are tried."""
    if BATCH.fullmatch(name) or (axis == 0 and len(x.shape) > 1 and not re.search("seq|len|time|frame", name)):
        return 1, True
    if axis == 1 and len(x.shape) == 3 and STATES.fullmatch(x.name):
        return 1, True
    if x.is_picture:
        is_last = x.shape[3] in (1, 3, 4)
        if axis == (3 if is_last else 1):
            return 3, True
        rows = axis == (1 if is_last else 2)
        other = x.shape[axis + (1 if rows else -1)]
        return (PICTURE[not rows] if isinstance(other, str) else LINE), False
    return (STATE if "past" in name else TOKENS), False


def _with_sums(sizes: Mapping[str, int]) -> dict[str, int]:
    """The same sizes; names that are sums or products of others, as `past_length + 1`, get their value."""
    found = dict(sizes)
    for name in sizes:
        parts = re.split(r"\s*([+*])\s*", name)
        if len(parts) == 3 and all(p in sizes or p.isdigit() for p in parts[::2]):
            a, b = (sizes[p] if p in sizes else int(p) for p in parts[::2])
            found[name] = a + b if parts[1] == "+" else a * b
    return found


# ---- numbers --------------------------------------------------------------------------------------------------------


def calls_to_try(inputs: Sequence[Input], sizes: Mapping[str, int]) -> Iterator[Calls]:
    """Inputs of three calls; the third are those of the first."""
    has_integers = any(x.dtype.kind in "iu" and x.dtype.itemsize > 2 for x in inputs)
    for largest in LARGEST_INTEGERS if has_integers else LARGEST_INTEGERS[:1]:
        draw = np.random.default_rng(1)
        first, second = ([_drawn(draw, x, inputs, sizes, n, largest) for x in inputs] for n in range(2))
        yield [first, second, first]


def shape_of(x: Input, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The sizes of an input."""
    return tuple(sizes[s] if isinstance(s, str) else s for s in x.shape)


def _drawn(
    draw: np.random.Generator, x: Input, inputs: Sequence[Input], sizes: Mapping[str, int], number: int, largest: int
) -> Array:
    """An input: floats in [0, 1] at first, then in [-1, 1]; all integers of 8 and 16 bits, small ones of others."""
    shape, name = shape_of(x, sizes), x.name.lower()
    if x.dtype.kind == "c":
        return (draw.uniform(-1, 1, shape) + 1j * draw.uniform(-1, 1, shape)).astype(x.dtype)
    if re.search("mask", name) and x.dtype.kind != "f":
        return np.ones(shape, x.dtype)
    if x.dtype.kind == "b":
        return draw.integers(0, 2, shape).astype(x.dtype)
    if x.dtype.kind == "f":
        lowest = 0.25 if re.search("scale|speed|thresh|conf|iou|noise", name) else -number
        return draw.uniform(lowest, 1, shape).astype(x.dtype)
    if x.dtype.itemsize <= 2:
        bounds = np.iinfo(x.dtype)
        return draw.integers(bounds.min, bounds.max + 1, shape).astype(x.dtype)
    return _integers(draw, name, shape, _length(inputs, sizes), largest).astype(x.dtype)


def _integers(draw: np.random.Generator, name: str, shape: tuple[int, ...], length: int, largest: int) -> Array:
    """Integers of 32 or 64 bits for an input called so; `length` is that of the sequences of the others."""
    if re.fullmatch("sr|.*rate.*", name):
        return np.full(shape, RATE)
    if re.search("len", name) and len(shape) <= 1:
        return np.full(shape, length)
    if re.search("position", name) and shape:
        return np.broadcast_to(np.arange(shape[-1]), shape)
    if re.search("type|segment", name):
        largest = min(largest, 1)
    return draw.integers(0, largest + 1, shape)


def _length(inputs: Sequence[Input], sizes: Mapping[str, int]) -> int:
    """The largest open size of the first input that has one behind its samples, else its last size."""
    for x in inputs:
        shape = shape_of(x, sizes)
        if len(shape) > 1:
            return max(
                (n for n, s in zip(shape[1:], x.shape[1:], strict=True) if isinstance(s, str)), default=shape[-1]
            )
    return TOKENS
