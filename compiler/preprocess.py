"""What a net may say about its pictures, in the graph's attribute `preprocess`: settings and the values they take.

`.net` files and TFLite files are checked by the same table; `runtime.data.images` does what the settings say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .errors import NetcError, near_miss
from .signature import Network

RESIZE = ("nearest", "box", "bilinear", "bicubic", "lanczos")
"""Ways to resize a picture."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting must be, in words and as a test; lists are tuples."""

    expected: str
    accepts: Callable[[Any], bool]


def declaration(graph: Network) -> Mapping[str, Any]:
    """The net's own `preprocess` definition; empty if it has none."""
    declared: Mapping[str, Any] = graph.attributes.get("preprocess") or {}
    return declared


def overridden(declared: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a net's pictures with others in their place; raises `NetcError` for what is no setting."""
    settings: dict[str, Any] = {}
    for key, value in given.items():
        if key not in SETTINGS:
            hint = near_miss(key, SETTINGS) or f"there are {', '.join(SETTINGS)}"
            raise NetcError(f"preprocess has no setting `{key}`", hint=hint)
        settings[key] = tuple(value) if isinstance(value, list) else value
        if not SETTINGS[key].accepts(settings[key]):
            raise NetcError(f"preprocess: {key} must be {SETTINGS[key].expected}, not {value}")
    return {**declared, **settings}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> bool:
    return _number(value) or (isinstance(value, tuple) and len(value) > 0 and all(map(_number, value)))


def _nonzero(value: Any) -> bool:
    return _numbers(value) and all(value if isinstance(value, tuple) else (value,))


def _labels(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, tuple) and all(isinstance(v, str) for v in value))


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "crop": Setting("a number above 0 and up to 1", lambda v: _number(v) and 0 < v <= 1),
        "resize": Setting("one of " + ", ".join(RESIZE), lambda v: v in RESIZE),
        "white": Setting("a positive number", lambda v: _number(v) and v > 0),
        "divide": Setting("a positive number", lambda v: _number(v) and v > 0),
        "mean": Setting("a number or a list of numbers", _numbers),
        "std": Setting("a number or a list of numbers, none of them 0", _nonzero),
        "labels": Setting("a file's name or a list of names", _labels),
    }
)
