"""Sequences of tensors and optional tensors, which are settled while the file is read."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.moves import moves
from ..node import Node
from ..registry import onnx
from ..values import Tensor


def _items(c: Node, place: int = 0) -> tuple[Tensor, ...]:
    items = c.tensor(place).items
    if items is None:
        c.unsupported(f"input {place} should be a sequence")
    return items


def _sequence(c: Node, items: list[Tensor]) -> Tensor:
    return Tensor("", items=tuple(items), sources=frozenset[str]().union(*(t.sources for t in items)))


def _same(tensor: Tensor) -> Tensor:
    """The same under another name."""
    return Tensor("", tensor.array, tensor.value, tensor.sources, tensor.items)


def _place(c: Node, place: int, count: int, *, end: bool = False) -> int:
    """An index into a sequence, counted from the front; the end itself only where something is put in."""
    number = int(c.one(place))
    limit = count + 1 if end else count
    if not -count <= number < limit:
        c.unsupported(f"there is no place {number} in a sequence of {count}")
    return number + count if number < 0 else number


@onnx("Identity")
def identity(c: Node) -> Tensor | Value:
    """The tensor, sequence or optional tensor itself."""
    x = c.tensor(0)
    return _same(x) if x.items is not None or x.is_missing else c.value(0)


@onnx("SequenceEmpty")
def sequence_empty(c: Node) -> Tensor:
    """A sequence of nothing."""
    c.ignore("dtype")
    return _sequence(c, [])


@onnx("SequenceConstruct")
def sequence_construct(c: Node) -> Tensor:
    """A sequence of the inputs."""
    return _sequence(c, [c.tensor(i) for i in range(c.count)])


@onnx("SequenceInsert")
def sequence_insert(c: Node) -> Tensor:
    """A sequence with one more tensor."""
    items = list(_items(c))
    items.insert(_place(c, 2, len(items), end=True) if c.has(2) else len(items), c.tensor(1))
    return _sequence(c, items)


@onnx("SequenceErase")
def sequence_erase(c: Node) -> Tensor:
    """A sequence without one of its tensors."""
    items = list(_items(c))
    del items[_place(c, 1, len(items)) if c.has(1) else -1]
    return _sequence(c, items)


@onnx("SequenceAt")
def sequence_at(c: Node) -> Tensor:
    """One of the tensors."""
    items = _items(c)
    return _same(items[_place(c, 1, len(items))])


@onnx("SequenceLength")
def sequence_length(c: Node) -> Array:
    """The number of tensors."""
    return np.array(len(_items(c)), np.int64)


@onnx("ConcatFromSequence")
def concat_from_sequence(c: Node) -> Value:
    """The tensors one after the other, along an axis or a new one."""
    values = [c.value_of(item) for item in _items(c)]
    if not values:
        c.unsupported("an empty sequence can't be joined")
    if c.flag("new_axis"):
        return moves.stack(c, *values, axis=int(c.needed("axis")))
    axis = c.axis(c.needed("axis"), values[0].type.rank)
    return values[0] if len(values) == 1 else c.emit("concat", *values, axis=axis)


@onnx("SplitToSequence")
def split_to_sequence(c: Node) -> Tensor:
    """Parts along an axis, of given sizes, of one size, or of 1."""
    x = c.value(0)
    axis = c.axis(c.attribute("axis", 0), x.type.rank)
    length, keeps = x.type.shape[axis], c.flag("keepdims", True)
    sizes: tuple[int, ...] = (1,) * length
    if c.has(1):
        given = c.integers(1)
        step = given[0]
        if c.type(1).rank == 0:
            sizes = tuple(min(step, length - start) for start in range(0, length, step)) if step > 0 else ()
        else:
            sizes = given
    parts = moves.split(c, x, sizes, axis)
    if not c.has(1) and not keeps:
        shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
        parts = tuple(c.reshape(part, shape) for part in parts)
    sources = c.tensor(0).sources
    return _sequence(c, [Tensor("", value=part, sources=sources) for part in parts])


@onnx("Optional")
def optional(c: Node) -> Tensor:
    """The tensor or sequence itself, or nothing."""
    c.ignore("type")
    return _same(c.tensor(0)) if c.has(0) else Tensor("")


@onnx("OptionalGetElement")
def optional_get_element(c: Node) -> Tensor:
    """The tensor or sequence itself."""
    if c.tensor(0).is_missing:
        raise c.tensor(0).no_tensor()
    return _same(c.tensor(0))


@onnx("OptionalHasElement")
def optional_has_element(c: Node) -> Array:
    """Whether there is a tensor."""
    return np.array(c.has(0) and not c.tensor(0).is_missing)
