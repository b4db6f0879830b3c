"""Packages that netc can do without, imported when something needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import NetcError


def extra(name: str, problem: str, cure: str) -> Any:
    """A module of an extra; raises `NetcError` with this cure where it isn't there, or can't be imported.

    Versions that don't fit together (onnx and an older protobuf, torch and a newer numpy) stop it with exceptions of
    any kind.
    """
    try:
        return import_module(name)
    except Exception as error:
        raise NetcError(f"{problem}: {' '.join(str(error).split()) or type(error).__name__}", hint=cure) from None
