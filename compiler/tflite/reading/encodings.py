"""Constants that a file doesn't hold element by element: sparse ones, and integers of 4 and of 2 bits.

Source: the comments on SparsityParameters and TensorType in TensorFlow's schema.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...graph.ir import Array
from ...types import TensorType
from .flatbuffer import Record

PACKED = {"INT4": 4, "INT2": 2}
"""Bits of the elements that share a byte, the first in the lowest bits; they become bytes of their own."""
MAX_LEVELS = 16


def packed_bytes(element: str, count: int) -> int:
    """Bytes that so many packed elements take."""
    return -(-count * PACKED[element] // 8)


def unpacked(data: Array, element: str, count: int) -> Array:
    """Packed elements as i8."""
    bits = PACKED[element]
    parts = [data >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    numbers = np.stack(parts, axis=1).reshape(-1)[:count].astype(np.int8)
    half = 1 << bits - 1
    return np.asarray((numbers ^ half) - half, np.int8)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A scale for each block of a row: f32 [rows, blocks, 1] beside the integers of type `stored`."""

    stored: TensorType
    scales: Array

    def floats(self, integers: Array) -> Array:
        """What integers stand for."""
        rows, blocks, _ = self.scales.shape
        return np.asarray((integers.reshape(rows, blocks, -1) * self.scales).reshape(integers.shape), np.float32)


@dataclass(frozen=True, slots=True)
class _Level:
    """A dimension of the stored tree: all of `size` places, or under node i those of `indices[segments[i]:...]`."""

    size: int
    segments: Array | None = None
    indices: Array | None = None


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How the elements of a sparse constant lie: levels in the order of storage, of whole dimensions and of blocks.

    Dimension `order[l]` is that of level l; from the rank on they are the places within blocks, of which number i
    belongs to dimension `blocked[i]`.
    """

    order: tuple[int, ...]
    blocked: tuple[int, ...]
    levels: tuple[_Level, ...]

    @property
    def count(self) -> int:
        """Number of elements that are stored."""
        nodes = 1
        for level in self.levels:
            nodes = nodes * level.size if level.indices is None else len(level.indices)
        return nodes

    def dense(self, stored: Array, shape: tuple[int, ...]) -> Array:
        """All elements, zeros where none is stored."""
        rank, sizes = len(shape), [0] * len(self.order)
        for level, dimension in zip(self.levels, self.order, strict=True):
            sizes[dimension] = level.size
        places = self._places()
        flat = np.zeros(len(stored), np.int64)
        for dimension, size in enumerate(shape):
            place = places[dimension].astype(np.int64)
            for number, blocked in enumerate(self.blocked):
                if blocked == dimension:
                    place = place * sizes[rank + number] + places[rank + number]
            flat = flat * size + place
        result = np.zeros(math.prod(shape), stored.dtype)
        result[flat] = stored
        return result.reshape(shape)

    def _places(self) -> list[Array]:
        """For each dimension the index of each stored element."""
        places: dict[int, Array] = {}
        nodes = 1
        for level, dimension in zip(self.levels, self.order, strict=True):
            if level.indices is None or level.segments is None:
                parents = np.repeat(np.arange(nodes), level.size)
                own = np.tile(np.arange(level.size, dtype=np.int32), nodes)
            else:
                parents = np.repeat(np.arange(nodes), np.diff(level.segments))
                own = level.indices.astype(np.int32)
            places = {d: place[parents] for d, place in places.items()}
            places[dimension] = own
            nodes = len(own)
        return [places[d] for d in range(len(self.order))]


def sparsity_of(record: Record, shape: tuple[int, ...], limit: int) -> Sparsity:
    """The checked layout of a sparse constant, of which at most `limit` elements are stored.

    Levels above may have more nodes than that, such as rows without an element, but no more than the constant.
    """
    order, blocked = (_integers(record, name) for name in ("traversal_order", "block_map"))
    levels = record["dim_metadata"]
    rank = len(shape)
    if len(order) > MAX_LEVELS or sorted(order) != list(range(rank + len(blocked))):
        record.fail("traversal_order", f"{order} doesn't list {rank} dimensions and {len(blocked)} of blocks")
    if any(not 0 <= d < rank for d in blocked):
        record.fail("block_map", f"{blocked} names dimensions that a tensor of rank {rank} doesn't have")
    if len(levels) != len(order):
        record.fail("dim_metadata", f"{len(levels)} entries don't describe {len(order)} dimensions")
    sizes = _sizes(record, shape, order, blocked)
    found: list[_Level] = []
    nodes = 1
    for level, dimension in zip(levels, order, strict=True):
        found.append(_level(level, sizes[dimension], nodes))
        indices = found[-1].indices
        nodes = nodes * sizes[dimension] if indices is None else len(indices)
        if nodes > math.prod(shape):
            record.fail("dim_metadata", f"it describes more elements than {list(shape)} has")
    if nodes > limit:
        record.fail("dim_metadata", f"it describes more than the {limit} elements that are stored")
    return Sparsity(order, blocked, tuple(found))


def _integers(record: Record, name: str) -> tuple[int, ...]:
    array = record[name]
    if array is None:
        return ()
    if len(array) > MAX_LEVELS:
        record.fail(name, f"{len(array)} dimensions are more than {MAX_LEVELS}")
    return tuple(array.tolist())


def _sizes(record: Record, shape: tuple[int, ...], order: Sequence[int], blocked: tuple[int, ...]) -> dict[int, int]:
    """The size of each dimension: blocks of a dimension, and places within a block, which dense entries state."""
    stated = {d: m["dense_size"] for m, d in zip(record["dim_metadata"], order, strict=True)}
    sizes = dict(enumerate(shape))
    for number, dimension in enumerate(blocked):
        size = stated[len(shape) + number]
        if size < 1 or sizes[dimension] % size:
            record.fail("dim_metadata", f"blocks of {size} don't divide dimension {dimension} of {list(shape)}")
        sizes[len(shape) + number] = size
        sizes[dimension] //= size
    return sizes


def _level(record: Record, size: int, nodes: int) -> _Level:
    if record["format"] == 0:
        if record["dense_size"] != size:
            record.fail("dense_size", f"{record['dense_size']} is not the size of the dimension, {size}")
        return _Level(size)
    if record["format"] != 1:
        record.fail("format", f"there is no format {record['format']}")
    segments, indices = (_numbers(record, name) for name in ("array_segments", "array_indices"))
    if len(segments) != nodes + 1 or segments[0] != 0 or segments[-1] != len(indices) or np.any(np.diff(segments) < 0):
        record.fail("array_segments", f"it doesn't divide {len(indices)} indices among {nodes} rows")
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        record.fail("array_indices", f"indices lie outside a dimension of {size}")
    return _Level(size, segments, indices)


def _numbers(record: Record, name: str) -> Array:
    table = record[name]
    if table is None or table["values"] is None:
        record.fail(name, "it is missing")
    return np.asarray(table["values"], np.int64)
