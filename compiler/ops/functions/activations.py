"""Activations that other operators can have fused: limits between which their results stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from ...graph.ir import Operation

ACTIVATIONS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0)}
)
"""Those that TFLite's operators may have fused, with their bounds."""
ALONE: Mapping[str, tuple[float, float]] = MappingProxyType({**ACTIVATIONS, "relu_0_to_1": (0.0, 1.0)})
"""Those that TFLite has as operators, with their bounds: not all of them can be fused."""


def activation_of(op: Operation) -> str | None:
    """Which of `ACTIVATIONS` an operation is; None for all others."""
    if not op.operator.clips:
        return None
    bounds = op.operator.bounds(op.attributes)
    return next((name for name, limits in ACTIVATIONS.items() if limits == bounds), None)
