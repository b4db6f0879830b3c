"""half-constants: round large constants to half precision, which halves TFLite files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Value
from .base import Pass

CONSTANTS = "constants"
HALF = "f16"
"""The graph's attribute `CONSTANTS` is `HALF` where files are to hold large constants in half precision."""


def holds_in_half(array: Array, smallest: int) -> bool:
    """True for floats of 32 bits, `smallest` or more, each of which is a number of half precision."""
    if array.dtype != np.float32 or array.size < smallest:
        return False
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array, equal_nan=True))


@dataclass(frozen=True)
class HalfConstants(Pass):
    """Round the elements of large constants of 32-bit floats to numbers of half precision.

    They stay floats of 32 bits in the graph, which says that TFLite files hold them in 16. Constants with elements
    beyond half precision (65504) stay as they are, and so do those of fewer than `smallest` elements.

    Before::

        %0 = constant {value = dense<[0.1, ...]>} : f32[32,64]

    After::

        %0 = constant {value = dense<[0.099975586, ...]>} : f32[32,64]
    """

    name = "half-constants"
    smallest: int = 1024

    def run(self, graph: Graph) -> Graph:
        rounded = rewritten(graph, self._rounded)
        attributes = {**graph.attributes, CONSTANTS: HALF}
        return replace(rounded, attributes=MappingProxyType(attributes))

    def _rounded(self, b: Rewriter, op: Operation) -> Value | None:
        if op.name != "constant":
            return None
        array: Array = op.attributes["value"]
        if array.dtype != np.float32 or array.size < self.smallest:
            return None
        with np.errstate(over="ignore"):
            half = array.astype(np.float16).astype(np.float32)
        if np.array_equal(half, array, equal_nan=True) or not np.array_equal(np.isfinite(half), np.isfinite(array)):
            return None
        return b.constant(half, op.location, name=op.result.name)


half_constants = HalfConstants()
