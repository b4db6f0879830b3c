"""Operands that are stored narrow, as bfloat16 or in half precision, and widened where they are loaded."""

from __future__ import annotations

from dataclasses import replace

from ....graph.ir import Value
from ....loops.ir import Cast, Expr, FromBfloat16
from ....lowering.group import Group
from ....ops.bfloat16 import widens
from ....types import DType


def as_stored(group: Group) -> Group:
    """The group with its anchor on operands as they lie in memory: what widens these inside drops out.

    The anchor's operands then have other element types than it takes; `widened` makes floats of what is loaded.
    """
    anchor = group.anchor
    sources = {v: _source(group, v) for v in anchor.operands}
    if all(source is v for v, source in sources.items()):
        return group
    stored = replace(anchor, operands=tuple(sources[v] for v in anchor.operands))
    read = {v for op in group.members if op is not anchor for v in op.operands}
    dropped = {group.producers[v] for v, source in sources.items() if source is not v and v not in read}
    members = tuple(stored if op is anchor else op for op in group.members if op not in dropped)
    return replace(group, anchor=stored, members=members)


def _source(group: Group, value: Value) -> Value:
    """What a value of the group is widened from, if it comes from outside; else the value."""
    op = group.producers.get(value)
    return op.operands[0] if op is not None and widens(op) and op.operands[0] in group.outer else value


def widened(loaded: Expr, dtype: DType) -> Expr:
    """What was loaded, as numbers of `dtype`; where that isn't their type, 16 bits are bfloat16."""
    if loaded.type.dtype is dtype:
        return loaded
    return FromBfloat16(loaded) if loaded.type.dtype is DType.I16 else Cast(loaded, dtype)
