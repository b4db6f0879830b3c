"""The function by which CPython calls a program, as an object of its own: the same for all programs of a target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ....image import PYTHON_CALL
from ....targets.target import Target
from . import machine
from .parts import CALLS_LEVEL, objects_of
from .program import filled


def loaded_objects(code: bytes, target: Target, symbols: Sequence[str]) -> Sequence[bytes]:
    """The objects of a code, and that of `PYTHON_CALL` if it is among the functions that are wanted."""
    return (*objects_of(code), *([_python_call(target)] if PYTHON_CALL in symbols else []))


@cache
def _python_call(target: Target) -> bytes:
    return machine.object_code(machine.header(target) + filled("python_call.ll", {}), target, CALLS_LEVEL)
