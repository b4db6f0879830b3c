"""Lists of tensors that a loop writes: an element put between what stands before and behind it.

TensorFlow's converter makes of TensorListSetItem (of a Keras layer's loop over steps) a CONCATENATION of two SLICEs and
the new element. How long the slices are, the index says; so they have no shape before the model runs, but the list has.
The three operators are read as one that replaces an element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...compiler.tflite.reading import Model, Operator
from ...compiler.types import DType


class _Number(NamedTuple):
    """A whole number that is computed: a constant added to what a tensor of one element holds, if there is one."""

    tensor: int | None
    offset: int


_Numbers = list[_Number] | None
"""The elements of a short tensor, if they are known so far."""


def with_list_writes(model: Model) -> Model:
    """The model, in whose main subgraph an operator that replaces a list's element stands for the three that do it."""
    producers = {i: operator for operator in model.operators for i in operator.outputs if not operator.is_custom}
    reads = [*(i for operator in model.operators for i in operator.inputs), *model.outputs]
    written: dict[int, Operator] = {}
    gone: set[int] = set()
    for operator in model.operators:
        write = _list_write(model, producers, operator)
        if write is not None and all(reads.count(operator.inputs[place]) == 1 for place in (0, 2)):
            written[operator.number] = write
            gone |= {producers[operator.inputs[place]].number for place in (0, 2)}
    if not written:
        return model
    operators = tuple(written.get(o.number, o) for o in model.operators if o.number not in gone)
    subgraphs = list(model.subgraphs)
    subgraphs[model.main] = replace(model.subgraph, operators=operators)
    return replace(model, subgraphs=tuple(subgraphs))


def _list_write(model: Model, producers: Mapping[int, Operator], operator: Operator) -> Operator | None:
    """DYNAMIC_UPDATE_SLICE in the place of a CONCATENATION that writes a list; None for others.

    Its index is that of the first dimension alone.
    """
    if operator.is_custom or operator.name != "CONCATENATION" or len(operator.inputs) != 3:
        return None
    if operator.option("axis", 0) != 0 or operator.option("fused_activation_function", 0) != 0:
        return None
    before, element, behind = (producers.get(index) for index in operator.inputs)
    if before is None or behind is None or element is None or (before.name, behind.name) != ("SLICE", "SLICE"):
        return None
    if len(before.inputs) != 3 or len(behind.inputs) != 3 or before.inputs[0] != behind.inputs[0]:
        return None
    index = _index(*([_numbers(model, producers, i) for i in part.inputs[1:]] for part in (before, behind)))
    if index is None or not _is_one(model, producers, element):
        return None
    inputs = (before.inputs[0], operator.inputs[1], index)
    return replace(operator, name="DYNAMIC_UPDATE_SLICE", inputs=inputs, options=None)


def _index(before: Sequence[_Numbers], behind: Sequence[_Numbers]) -> int | None:
    """The index of the element between two slices, each given by its begin and size; None unless it is only one."""
    (begin, size), (next_, rest) = before, behind
    if not begin or not size or not next_ or not rest or not len(begin) == len(size) == len(next_) == len(rest):
        return None
    index, rank = size[0].tensor, len(size)
    zeros, all_ = [_Number(None, 0)] * rank, [_Number(None, -1)] * rank
    if (begin, size[1:], next_[1:], rest) != (zeros, all_[1:], zeros[1:], all_):
        return None
    return index if index is not None and (size[0].offset, next_[0]) == (0, _Number(index, 1)) else None


def _is_one(model: Model, producers: Mapping[int, Operator], element: Operator) -> bool:
    """True for an operator whose result surely has one element along the first dimension."""
    if element.name not in ("EXPAND_DIMS", "RESHAPE") or len(element.inputs) != 2:
        return False
    numbers = _numbers(model, producers, element.inputs[1])
    wanted = _Number(None, 0 if element.name == "EXPAND_DIMS" else 1)
    return numbers is not None and numbers[:1] == [wanted]


def _numbers(model: Model, producers: Mapping[int, Operator], index: int, depth: int = 8) -> _Numbers:
    """The elements of a short tensor of whole numbers, as far as this is a list of single numbers; None for others."""
    if index < 0 or not depth:
        return None
    tensor, producer = model.tensors[index], producers.get(index)
    if tensor.type is None or tensor.type.dtype not in (DType.I32, DType.I64):
        return None
    if producer is None:
        array = tensor.array()
        if array is not None:
            return [_Number(None, int(v)) for v in array.reshape(-1)] if array.size <= 8 else None
        return [_Number(index, 0)] if tensor.type.size == 1 else None
    parts = [_numbers(model, producers, i, depth - 1) for i in producer.inputs]
    first = parts[0] if parts else None
    if first is not None and producer.name in ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "CAST"):
        return first
    if producer.name in ("CONCATENATION", "PACK") and first is not None:
        return None if None in parts else [number for part in parts for number in part or ()]
    if producer.name in ("ADD", "SUB") and len(parts) == 2:
        return _sum(parts, 1 if producer.name == "ADD" else -1) or [_Number(index, 0)]
    return [_Number(index, 0)] if tensor.type.size == 1 else None


def _sum(parts: Sequence[_Numbers], sign: int) -> _Numbers:
    """The sum or the difference of two single numbers of which one is a constant."""
    if any(part is None or len(part) != 1 for part in parts):
        return None
    a, b = (part[0] for part in parts if part)
    if a.tensor is None and sign > 0:
        a, b = b, a
    return [_Number(a.tensor, a.offset + sign * b.offset)] if b.tensor is None else None
