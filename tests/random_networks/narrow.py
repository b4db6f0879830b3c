"""Recipes for numbers in two bytes, of which a network gets those that it was given: roundings are steps."""

from __future__ import annotations

from netc.compiler.graph.ir import Value
from netc.compiler.types import DType

from .integers import KNOWN
from .maker import Maker
from .recipes import recipe


@recipe("to_bfloat16")
def to_bfloat16(m: Maker, name: str) -> Value:
    return m.emit(name, m.leaf(DType.F32, m.shape((1, 3))))


@recipe("from_bfloat16")
def from_bfloat16(m: Maker, name: str) -> Value:
    return m.emit(name, m.emit("to_bfloat16", m.leaf(DType.F32, m.shape((1, 3)))))


@recipe("half_weight")
def half_weight(m: Maker, name: str) -> Value:
    return m.emit(name, m.leaf(DType.F32, m.shape((1, 3)), kinds=KNOWN))
