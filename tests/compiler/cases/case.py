"""One use of an operator, which drives the tests of every stage."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import netc.compiler.ops  # noqa: F401 (fills the registry)
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.registry import lookup
from netc.compiler.types import DType, TensorType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OpCase:
    """One use of an operator. Operands from number `weights` on become parameters."""

    op: str
    shapes: tuple[Shape, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: int = 1_000
    positive: bool = False
    tolerance: float = 2e-6
    """Largest error allowed, relative to the largest result."""
    dtypes: Mapping[int, DType] = field(default_factory=dict)
    """Element types of the operands that are not f32."""
    below: Mapping[int, int] = field(default_factory=dict)
    """Operands that are whole numbers, from 0 up to this."""
    scale: float = 1.0
    offset: float = 0.0
    """Floats are multiplied by this, and this is added."""

    @property
    def id(self) -> str:
        attributes = ",".join(f"{k}={v.name if isinstance(v, Graph) else v}" for k, v in self.attributes.items())
        types = "".join(f"-{self.dtypes[i]}" for i in self.dtypes)
        shapes = "-".join("x".join(map(str, s)) for s in self.shapes)
        return f"{self.op}-{shapes}{types}-{attributes}".replace(" ", "")

    def dtype(self, operand: int, float_type: DType = DType.F32) -> DType:
        """Element type of an operand; f32 may be computed in another type."""
        given = self.dtypes.get(operand, DType.F32)
        return float_type if given is DType.F32 else given

    def operands(self, float_type: DType = DType.F32) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Random operands, the same on every run."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        arrays = []
        for i, shape in enumerate(self.shapes):
            array = rng.standard_normal(shape, dtype=np.float32)
            if self.positive:
                array = np.abs(array) + np.float32(0.1)
            array = np.asarray(array * np.float32(self.scale) + np.float32(self.offset))
            if i in self.below:
                array = rng.integers(0, self.below[i], shape).astype(np.float32)
            dtype = self.dtype(i, float_type)
            arrays.append(np.asarray(array > 0 if dtype is DType.BOOL else np.asarray(array).astype(dtype.numpy)))
        return arrays

    def graph(self, float_type: DType = DType.F32, *, with_params: bool = True) -> Graph:
        """A graph with this one operation; without params, all operands are inputs."""
        b = GraphBuilder("case")
        values = []
        for i, shape in enumerate(self.shapes):
            dtype = self.dtype(i, float_type)
            if with_params and i >= self.weights:
                values.append(b.emit("param", shape=shape, dtype=str(dtype), name=f"w{i}"))
            else:
                values.append(b.input(f"x{i}", TensorType(dtype, shape)))
        return b.finish(b.operation(lookup(self.op), values, self.attributes).results)
