"""The onnx package, which decodes files and describes operators; it is an extra of netc, and imported when needed."""

from __future__ import annotations

from functools import cache
from typing import Any

from ...compiler.extras import extra

NEWEST = 28
"""The newest operator set whose operators netc's rules know; operators that changed later are refused."""
OLDEST = 6
"""The oldest one; of those before it the rules know the operators that it left as they were."""


@cache
def library() -> Any:
    """The package `onnx`. Raises `NetcError` where it can't be imported."""
    problem, cure = "ONNX files need the package onnx", "install it with pip install -U 'netc[onnx]'"
    onnx = extra("onnx", problem, cure)
    extra("onnx.defs", problem, cure)
    return onnx


def schema_of(name: str, opset: int, domain: str) -> Any | None:
    """How an operator is defined in an operator set; None where it has no such operator."""
    onnx = library()
    try:
        return onnx.defs.get_schema(name, opset, domain)
    except onnx.defs.SchemaError:
        return None
