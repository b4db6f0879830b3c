"""Blocks of places as channels or as pictures of their own, and back: depth_to_space and its like, on channels last.

Each is a reshape, a transpose and a reshape, which make one kernel; TFLite has operators for them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Value
from ...graph.registry import register
from ...types import DType, TensorType
from .axes import Permutation
from .movement import Margins, Movement, padded_shape


class Steps(NamedTuple):
    """What the elements go through: this shape, then its dimensions in this order, then this shape."""

    apart: tuple[int, ...]
    permutation: Permutation
    together: tuple[int, ...]


def rearranged(b: Emits, x: Value, steps: Steps) -> Value:
    """The steps as operations."""
    apart = b.emit("reshape", x, shape=steps.apart)
    return b.emit("reshape", b.emit("transpose", apart, permutation=steps.permutation), shape=steps.together)


class Rearrangement(Movement):
    """Base of the operators whose elements go through `Steps`."""

    @abstractmethod
    def steps(self, x: TensorType, attributes: Attributes) -> Steps:
        """The steps for an operand; raises `ShapeError` where the blocks don't fit."""

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        return self.steps(x, attributes).together

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        steps = self.steps(TensorType(DType.of(x.dtype), x.shape), attributes)
        return (x.reshape(steps.apart).transpose(steps.permutation).reshape(steps.together),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return rearranged(b, x, self.steps(x.type, attributes))


_BLOCK_SIZE = {"block_size": AttributeSpec(int, "side of a block")}


def picture(name: str, x: TensorType, block: int) -> tuple[int, int, int, int]:
    """The sizes of [N, H, W, C]; raises `ShapeError` for other tensors, and for blocks below 1."""
    if x.rank != 4:
        raise ShapeError(f"{name} takes [N, H, W, C], not {x}")
    if block < 1:
        raise ShapeError(f"{name}: a block can't have the side {block}")
    n, h, w, channels = x.shape
    return n, h, w, channels


@register
class SpaceToDepth(Rearrangement):
    """Blocks of places as channels: [N, H, W, C] to [N, H/b, W/b, b*b*C], in a block row by row, C innermost."""

    name = "space_to_depth"
    attributes = _BLOCK_SIZE

    def steps(self, x: TensorType, attributes: Attributes) -> Steps:
        block = attributes["block_size"]
        n, h, w, channels = picture(self.name, x, block)
        if h % block or w % block:
            raise ShapeError(f"space_to_depth: blocks of {block} don't divide {x}")
        apart = (n, h // block, block, w // block, block, channels)
        return Steps(apart, (0, 1, 3, 2, 4, 5), (n, h // block, w // block, block * block * channels))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        return b.emit("depth_to_space", dy, **attributes)


@register
class DepthToSpace(Rearrangement):
    """Channels as blocks of places: [N, H, W, b*b*C] to [N, H*b, W*b, C], the inverse of space_to_depth."""

    name = "depth_to_space"
    attributes = _BLOCK_SIZE

    def steps(self, x: TensorType, attributes: Attributes) -> Steps:
        block = attributes["block_size"]
        n, h, w, channels = picture(self.name, x, block)
        if channels % (block * block):
            raise ShapeError(f"depth_to_space: blocks of {block} don't divide the channels of {x}")
        apart = (n, h, w, block, block, channels // (block * block))
        return Steps(apart, (0, 1, 3, 2, 4, 5), (n, h * block, w * block, channels // (block * block)))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        return b.emit("space_to_depth", dy, **attributes)


_BLOCK_SHAPE = AttributeSpec(tuple, "size of a block along each spatial dimension: those after the first one")


def _blocks(name: str, x: TensorType, block: tuple[int, ...], margins: Margins) -> None:
    """Check what both operators take."""
    if not 1 <= len(block) < x.rank:
        raise ShapeError(f"{name}: blocks of {list(block)} don't fit the rank of {x}")
    if min(block) < 1:
        raise ShapeError(f"{name}: blocks of {list(block)} are none")
    if len(margins) != len(block) or any(len(m) != 2 or min(m) < 0 for m in margins):
        raise ShapeError(f"{name}: {list(margins)} doesn't give (before, after) for each dimension of a block")


@register
class BatchToSpaceND(Rearrangement):
    """Pictures of places that lie a block apart, joined and cropped: [b...*N, spatial...] to [N, b*spatial - crops...].

    Its adjoint is space_to_batch_nd with the crops as padding (TFLite's BATCH_TO_SPACE_ND).
    """

    name = "batch_to_space_nd"
    attributes = {
        "block_shape": _BLOCK_SHAPE,
        "crops": AttributeSpec(tuple, "(before, after) that each spatial dimension loses"),
    }

    def steps(self, x: TensorType, attributes: Attributes) -> Steps:
        block, crops = attributes["block_shape"], attributes["crops"]
        _blocks(self.name, x, block, crops)
        count, spatial, rest = len(block), x.shape[1 : len(block) + 1], x.shape[len(block) + 1 :]
        if x.shape[0] % math.prod(block):
            raise ShapeError(f"batch_to_space_nd: blocks of {list(block)} don't divide the batch of {x}")
        n = x.shape[0] // math.prod(block)
        pairs = [d for i in range(count) for d in (count + 1 + i, i)]
        order = (count, *pairs, *range(2 * count + 1, 2 * count + 1 + len(rest)))
        return Steps(
            (*block, n, *spatial, *rest), order, (n, *(s * b for s, b in zip(spatial, block, strict=True)), *rest)
        )

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        whole = TensorType(x.dtype, super().shape(x, attributes))
        _, size = _uncropped(whole, attributes["crops"])
        if min(size) < 0:
            raise ShapeError(f"batch_to_space_nd: {list(attributes['crops'])} crops more than there is of {whole}")
        return size

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (whole,) = super().evaluate(operands, attributes)
        begin, size = _uncropped(TensorType(DType.of(whole.dtype), whole.shape), attributes["crops"])
        return (whole[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))],)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        whole = super().decompose(b, operands, attributes)
        begin, size = _uncropped(whole.type, attributes["crops"])
        return whole if size == whole.type.shape else b.emit("slice", whole, begin=begin, size=size)

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        block, crops = attributes["block_shape"], attributes["crops"]
        return b.emit("space_to_batch_nd", dy, block_shape=block, padding=crops)


def _uncropped(whole: TensorType, crops: Margins) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where what is left of a tensor begins, and its sizes."""
    every = ((0, 0), *crops, *((0, 0),) * (whole.rank - len(crops) - 1))
    size = tuple(s - before - after for s, (before, after) in zip(whole.shape, every, strict=True))
    return tuple(before for before, _ in every), size


@register
class SpaceToBatchND(Rearrangement):
    """Places that lie a block apart as pictures of their own: [N, spatial...], padded, to [b...*N, spatial/b...].

    Its adjoint is batch_to_space_nd with the padding as crops (TFLite's SPACE_TO_BATCH_ND).
    """

    name = "space_to_batch_nd"
    attributes = {
        "block_shape": _BLOCK_SHAPE,
        "padding": AttributeSpec(tuple, "(before, after) that is added to each spatial dimension"),
        "value": AttributeSpec((int, float), "the new elements", 0.0),
    }

    def steps(self, x: TensorType, attributes: Attributes) -> Steps:
        """The steps of a padded tensor."""
        block = attributes["block_shape"]
        count, spatial, rest = len(block), x.shape[1 : len(block) + 1], x.shape[len(block) + 1 :]
        if any(s % b for s, b in zip(spatial, block, strict=True)):
            raise ShapeError(f"space_to_batch_nd: blocks of {list(block)} don't divide {x}, padding included")
        small = tuple(s // b for s, b in zip(spatial, block, strict=True))
        apart = (x.shape[0], *(size for pair in zip(small, block, strict=True) for size in pair), *rest)
        blocks, places = range(2, 2 * count + 1, 2), range(1, 2 * count + 1, 2)
        order = (*blocks, 0, *places, *range(2 * count + 1, len(apart)))
        return Steps(apart, order, (x.shape[0] * math.prod(block), *small, *rest))

    def _padding(self, x: TensorType, attributes: Attributes) -> Margins:
        _blocks(self.name, x, attributes["block_shape"], attributes["padding"])
        if not x.dtype.holds(attributes["value"]):
            raise ShapeError(f"space_to_batch_nd: {x} can't hold {attributes['value']}")
        padding: Margins = attributes["padding"]
        return ((0, 0), *padding, *((0, 0),) * (x.rank - len(padding) - 1))

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        padded = padded_shape(x, self._padding(x, attributes))
        return super().shape(TensorType(x.dtype, padded), attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        padding = self._padding(TensorType(DType.of(x.dtype), x.shape), attributes)
        padded = np.pad(x, padding, constant_values=np.asarray(attributes["value"], x.dtype))
        return super().evaluate((padded,), attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        padding = self._padding(x.type, attributes)
        if any(sum(sides) for sides in padding):
            x = b.emit("pad", x, padding=padding, value=attributes["value"])
        return super().decompose(b, (x,), attributes)

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        block, padding = attributes["block_shape"], attributes["padding"]
        return b.emit("batch_to_space_nd", dy, block_shape=block, crops=padding)
