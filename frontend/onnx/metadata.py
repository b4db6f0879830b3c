"""What a model says about pictures and classes, as a net declares it in its `preprocess`.

Two conventions are read: ONNX's own for pictures (docs/MetadataProps.md of the specification:
`Image.NominalPixelRange`, `Image.BitmapPixelFormat`), and the entry `names` of Ultralytics' exports, classes by number.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

_RANGES: Mapping[str, Mapping[str, float]] = {
    "NominalRange_0_255": {"divide": 1.0},
    "Normalized_0_1": {"divide": 255.0},
    "Normalized_1_1": {"divide": 127.5, "mean": 1.0},
}
MAX_NAMES = 10_000


def preprocess_of(model: Any, notes: list[str]) -> dict[str, Any]:
    """The graph attribute `preprocess`, as far as the ModelProto says it; what netc can't do is noted."""
    found: dict[str, Any] = {}
    entries = {entry.key: entry.value for entry in model.metadata_props}
    order, scale = (entries.get(f"Image.{key}") for key in ("BitmapPixelFormat", "NominalPixelRange"))
    if order is not None and order not in ("Rgb8", "Gray8"):
        notes.append(f"its pictures have pixels of {order[:40]}, which netc doesn't make: prepare them yourself")
    elif scale is not None and scale in _RANGES:
        found |= _RANGES[scale]
    elif scale is not None:
        notes.append(f"its pixels have the range {scale[:40]}, which netc doesn't make: --preprocess says another")
    names = _names(entries.get("names", ""))
    return {**found, "labels": names} if names else found


def _names(text: str) -> tuple[str, ...] | None:
    """Classes by number, as a Python dictionary says them."""
    if len(text) > 1 << 20 or not text.startswith("{"):
        return None
    try:
        given = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if not isinstance(given, dict) or not 0 < len(given) <= MAX_NAMES:
        return None
    names = tuple(given.get(i) for i in range(len(given)))
    return tuple(str(n) for n in names) if all(isinstance(n, str) for n in names) else None
