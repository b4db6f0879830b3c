"""How files of networks are read: choices that hold for whatever is read while a context is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .compiler.errors import NetcError

_FLOAT_WEIGHTS: ContextVar[bool] = ContextVar("float weights", default=False)


@contextmanager
def reading_float_weights(wanted: bool = True) -> Iterator[None]:
    """While the context is open, 8-bit weights of files of dynamic range are read as floats."""
    token = _FLOAT_WEIGHTS.set(wanted or _FLOAT_WEIGHTS.get())
    try:
        yield
    finally:
        _FLOAT_WEIGHTS.reset(token)


def reads_float_weights() -> bool:
    """Whether they are."""
    return _FLOAT_WEIGHTS.get()


LAYOUTS = ("file", "nhwc")
"""The order of dimensions of inputs and outputs: that of the file, or channels last."""
_LAYOUT: ContextVar[str] = ContextVar("layout", default="file")


@contextmanager
def reading_layout(layout: str) -> Iterator[None]:
    """While the context is open, networks are read with inputs and outputs in this order of dimensions.

    Raises `NetcError` for an unknown one.
    """
    if layout not in LAYOUTS:
        raise NetcError(f"there is no layout `{layout}`", hint="known: " + ", ".join(LAYOUTS))
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)


def layout_read() -> str:
    """The order in which inputs and outputs are read."""
    return _LAYOUT.get()
