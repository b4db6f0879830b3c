"""Whether two graphs are the same but for names, and which tensor of one stands for which of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.graph.ir import Attribute, Graph, Operation, Value
from ...compiler.graph.keys import attributes_key

KNOWN = ("param", "constant")


class DifferentError(Exception):
    """The graphs differ; says where."""


def matched(
    new: Mapping[Value, Operation],
    old: Mapping[Value, Operation],
    pairs: list[tuple[Value, Value]],
    known: dict[Value, Value],
    is_same: Callable[[Operation, Operation], bool],
) -> dict[Value, Value]:
    """Which value of the old graph each value of the new one stands for, from pairs of results backward.

    `known` are pairs to begin with, such as inputs; `is_same` compares parameters and constants. Raises
    `DifferentError`.
    """
    found = dict(known)
    work = list(pairs)
    while work:
        a, b = work.pop()
        if a in found:
            if found[a] is not b:
                raise DifferentError(f"{_title(new, a)} stands for two tensors")
            continue
        found[a] = b
        one, other = new.get(a), old.get(b)
        if one is None or other is None:
            raise DifferentError(f"{_title(new, a)} stands where {_title(old, b)} was")
        if one.name in KNOWN and other.name in KNOWN:
            if a.type != b.type or not is_same(one, other):
                raise DifferentError(f"{_title(new, a)} isn't {_title(old, b)}")
            continue
        if (
            one.name != other.name
            or len(one.operands) != len(other.operands)
            or one.results.index(a) != other.results.index(b)
            or any(r.type != s.type for r, s in zip(one.results, other.results, strict=True))
            or not same_attributes(one, other)
        ):
            raise DifferentError(f"{_title(new, a)} isn't {_title(old, b)}")
        work.extend(zip(one.operands, other.operands, strict=True))
    return found


def same_attributes(one: Operation, other: Operation) -> bool:
    """Whether attributes say the same, however axes are counted."""
    if attributes_key(one.attributes) == attributes_key(other.attributes):
        return True
    return attributes_key(_counted(one)) == attributes_key(_counted(other))


def _counted(op: Operation) -> dict[str, Attribute]:
    """The attributes, with axes counted from the front."""
    attributes = dict(op.attributes)
    rank = op.operands[0].type.rank if op.operands else 0
    if rank and isinstance(axis := attributes.get("axis"), int):
        attributes["axis"] = axis % rank
    if rank and isinstance(axes := attributes.get("axes"), tuple):
        attributes["axes"] = tuple(sorted(axis % rank for axis in axes))
    return attributes


def _title(producers: Mapping[Value, Operation], value: Value) -> str:
    op = producers.get(value)
    name = f" `{value.name}`" if value.name else ""
    return f"the {op.name if op else 'input'}{name} of {value.type}"


def correspondence(new: Graph, old: Graph) -> dict[Value, Value]:
    """The parameters of the new graph and what they stand for in the old one: parameters, or constants.

    Raises `DifferentError` unless the graphs have the same operations, attributes and types, whatever the names.
    """
    if [v.type for v in new.inputs] != [v.type for v in old.inputs] or len(new.outputs) != len(old.outputs):
        raise DifferentError("inputs or outputs differ")
    found = matched(
        new.producers,
        old.producers,
        list(zip(new.outputs, old.outputs, strict=True)),
        dict(zip(new.inputs, old.inputs, strict=True)),
        same_tensor,
    )
    tensors = {a: b for a, b in found.items() if a in new.producers and new.producers[a].name == "param"}
    if len(set(tensors.values())) != len(tensors):
        raise DifferentError("two parameters stand for one tensor")
    return tensors


def same_tensor(one: Operation, other: Operation) -> bool:
    """Whether a parameter or constant of the text may be one of the graph."""
    if one.name == "param":
        return other.name == "constant" or _settings(one) == _settings(other)
    if other.name != "constant":
        return False
    a, b = one.attributes["value"], other.attributes["value"]
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def _settings(op: Operation) -> object:
    return attributes_key(op.attributes)
