"""How pictures are cropped, resized and normalised, in a metadata buffer of netc's own: JSON text.

The standard metadata have no words for crop and filter, and hold normalisation rounded to float32. This buffer holds
the settings of the graph's attribute `preprocess` as they are, all but the labels, which the standard metadata name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NetcError, near_miss
from ..preprocess import SETTINGS

NAME = "netc.preprocess"
MAX_BYTES = 4096
LARGEST = 1e12
"""Numbers lie between this and its reciprocal, so that no picture overflows float32."""

_KEYS = tuple(key for key in SETTINGS if key != "labels")


def to_buffer(declared: Mapping[str, Any]) -> bytes:
    """The buffer for a net's settings; the same settings give the same bytes. Raises `NetcError` for wrong ones."""
    settings = _checked({key: value for key, value in declared.items() if key != "labels"})
    return json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()


def from_buffer(data: bytes) -> dict[str, Any]:
    """The settings in a buffer that nobody vouches for. Raises `NetcError` that says what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise _error(f"{len(data):,} bytes are more than {MAX_BYTES:,}")
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise _error("this is not JSON text") from None
    if not isinstance(found, dict):
        raise _error("this is not a JSON object")
    return _checked(found)


def fits(settings: Mapping[str, Any]) -> bool:
    """True for settings with numbers that a file can hold, and that no picture overflows with."""
    try:
        to_buffer(settings)
    except NetcError:
        return False
    return True


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose keys and values are right, with lists as tuples."""
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _KEYS:
            raise _error(f"there is no setting {key[:40]!a}", near_miss(key, _KEYS))
        checked[key] = tuple(value) if isinstance(value, list) else value
        if not SETTINGS[key].accepts(checked[key]):
            raise _error(f"`{key}` must be {SETTINGS[key].expected}")
        if key != "resize" and not all(map(_in_range, _as_sequence(checked[key]))):
            raise _error(f"`{key}` must lie between {1 / LARGEST:g} and {LARGEST:g}")
    return checked


def _as_sequence(value: Any) -> Sequence[float]:
    return value if isinstance(value, tuple) else (value,)


def _in_range(number: float) -> bool:
    return number == 0 or 1 / LARGEST <= abs(number) <= LARGEST


def _error(problem: str, hint: str | None = None) -> NetcError:
    return NetcError(f"metadata `{NAME}`: {problem}", hint=hint)
