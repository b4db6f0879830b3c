"""The meaning of kernels, in NumPy: slow, obvious, and checked at every access. Tests compare compiled code with it.

What a kernel does in which order is written down in Python (see `python_text`); what a node does with numbers is
its `meaning`. Parallel loops run in order. Fresh register and stack memory holds a value that shows up when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InternalError
from ..types import DType
from .ir import INDEX, Expr, Kernel
from .operations import Number
from .python_text import python_text

Array = NDArray[Any]


def run_kernel(kernel: Kernel, arrays: Sequence[Array]) -> None:
    """Run a kernel on arrays of exactly its parameters' types and shapes; outputs are written in place.

    `InternalError` for an access outside a buffer.
    """
    for buffer, array in zip(kernel.params, arrays, strict=True):
        if array.dtype != buffer.dtype.numpy or array.shape != buffer.shape or not array.flags.c_contiguous:
            raise InternalError(f"%{buffer.name} takes {buffer.dtype}{list(buffer.shape)}, C-contiguous")
    with np.errstate(all="ignore"):
        python_function(kernel)(*(array.reshape(-1) for array in arrays))


@lru_cache(maxsize=256)
def python_function(kernel: Kernel) -> Callable[..., None]:
    """A kernel as a Python function of flat arrays."""
    written = python_text(kernel)
    names: dict[str, Any] = {name: meaning(expr) for name, expr in written.functions.items()}
    names |= {"fresh": _fresh, "outside": _outside, "rows": _rows, "wrap": _wrapped, "constant": _constant}
    exec(compile(written.text, f"<kernel @{kernel.name}>", "exec"), names)
    function: Callable[..., None] = names["kernel"]
    return function


def meaning(expr: Expr) -> Callable[..., Number]:
    """What a node does with the values of its operands; the type of the result is the node's."""
    function = expr.meaning()
    if expr.type is INDEX:
        return lambda *operands: _wrapped(int(function(*operands)))
    if expr.closed:
        return function
    dtype = expr.type.dtype.numpy
    return lambda *operands: np.asarray(function(*operands)).astype(dtype)[()]


def _outside(name: str, shape: Sequence[int], lanes: int, *at: int) -> None:
    what = f"access to %{name}{list(at)} lies" if lanes == 1 else f"{lanes} lanes of %{name} from {list(at)} on lie"
    raise InternalError(f"{what} outside {list(shape)}")


def _rows(span: Array, rows: int, pitch: int, lanes: int) -> Array:
    """Rows of elements that begin `pitch` elements after each other, one after the other."""
    return span[np.add.outer(np.arange(rows) * pitch, np.arange(lanes))].reshape(-1)


def _wrapped(value: int) -> int:
    """The whole number of 64 bits with the same lowest bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _constant(number: int | float | bool, dtype: str, lanes: int) -> Number:
    kind = DType(dtype).numpy
    return np.full(lanes, number, kind) if lanes > 1 else kind.type(number)


def _fresh(dtype: str, size: int, lanes: int) -> Array:
    kind = DType(dtype)
    return np.full((size, lanes) if lanes > 1 else size, np.nan if kind.is_float else 77, kind.numpy)
