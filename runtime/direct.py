"""The usual call of a program, by machine code in place of Python's steps.

These steps take two to three microseconds, which is nothing beside most networks and half the time of the smallest.
`PYTHON_CALL` (`codegen/python_call.ll`) is a function as CPython calls its own: it checks the inputs, makes the
output by `numpy.empty`, takes the lock of the first session, runs, and gives the lock back. Here is what it needs to
know, and where it can be used: where a program has one output and no state, in CPython with its global lock, and where
arrays lie in memory as NumPy's C interface has them, which is tried on some.

It only does what is usual: inputs by position, each a plain `ndarray` (no subclass) with the very dtype object,
C-contiguous and aligned; a session that has started; no profile; no call under way, in this thread or in another.
Anything else it leaves alone, and the call goes by `Callers`. There it shows as the first session's lock, which it
holds for the run, and as `Doors.running`. It isn't one of `Callers.inside`: no Python runs amid it that could call
again in its thread.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..compiler.image import PYTHON_CALL
from ..compiler.types import TensorType
from .callers import Callers
from .session import Array, Doors, Session

DirectCall = Callable[..., Array]
"""Takes the inputs; returns the output, or `NotImplemented` if it has done nothing."""

_HEADER = 16
"""Bytes of an object in CPython, unless it is built without its lock or to trace references."""
_FASTCALL = 0x0080
_C_CONTIGUOUS, _ALIGNED = 0x0001, 0x0100


class _MethodDef(ctypes.Structure):
    """CPython's `PyMethodDef`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Tensor(ctypes.Structure):
    """`%tensor` of `python_call.ll`: what an input must be."""

    _fields_ = (("dtype", ctypes.py_object), ("rank", ctypes.c_int64), ("shape", ctypes.POINTER(ctypes.c_int64)))


class _Facts(ctypes.Structure):
    """`%facts` of `python_call.ll`, and what CPython reads of the function."""

    _fields_ = (
        ("doors", ctypes.POINTER(Doors)),
        ("context", ctypes.c_void_p),
        ("run", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("inputs", ctypes.POINTER(_Tensor)),
        ("ndarray", ctypes.py_object),
        ("empty", ctypes.py_object),
        ("output", ctypes.py_object * 2),
        ("no_waiting", ctypes.py_object),
        ("true", ctypes.py_object),
        ("other", ctypes.py_object),
        ("inside", ctypes.py_object),
        ("wake", ctypes.py_object),
        ("vectorcall", ctypes.c_void_p),
        ("call", ctypes.c_void_p),
        ("set_size", ctypes.c_void_p),
        ("save_thread", ctypes.c_void_p),
        ("restore_thread", ctypes.c_void_p),
        ("increase", ctypes.c_void_p),
        ("decrease", ctypes.c_void_p),
        ("method", _MethodDef),
    )


class _ArrayObject(ctypes.Structure):
    """`%array` of `python_call.ll`: NumPy's `PyArrayObject`."""

    _fields_ = (
        ("references", ctypes.c_int64),
        ("type", ctypes.c_void_p),
        ("elements", ctypes.c_void_p),
        ("rank", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


def direct_call(
    callers: Callers, session: Session, inputs: Sequence[TensorType], outputs: Sequence[TensorType]
) -> DirectCall | None:
    """The function for calls in a program's first session; None where they must go by `callers`."""
    address = session.loaded.addresses.get(PYTHON_CALL)
    if address is None or session.has_memory or len(outputs) != 1 or not is_known_here():
        return None
    facts = _Facts()
    facts.doors = ctypes.pointer(session.doors)
    facts.context, facts.run = session.address, session.loaded.addresses["netc_run"]
    facts.count = len(inputs)
    facts.inputs = (_Tensor * len(inputs))(*(_tensor(type_) for type_ in inputs))
    facts.ndarray, facts.empty = np.ndarray, np.empty
    facts.output[:] = outputs[0].shape, outputs[0].dtype.numpy
    facts.no_waiting, facts.true, facts.other = (False,), True, NotImplemented
    facts.inside, facts.wake = callers.inside, callers.wake  # which keeps all that the other fields point to
    for part, name in _FUNCTIONS.items():
        setattr(facts, part, ctypes.cast(ctypes.pythonapi[name], ctypes.c_void_p))
    facts.method = _MethodDef(PYTHON_CALL.encode(), address, _FASTCALL, None)
    new: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    held: Any = facts
    function: DirectCall = new(("PyCFunction_NewEx", ctypes.pythonapi))(
        ctypes.addressof(facts.method), np.frombuffer(held, np.uint8), None
    )
    return function


_FUNCTIONS = {
    "vectorcall": "PyObject_Vectorcall",
    "call": "PyObject_Call",
    "set_size": "PySet_Size",
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
    "increase": "Py_IncRef",
    "decrease": "Py_DecRef",
}
"""Of Python's stable interface, by what `_Facts` calls them."""


@cache
def is_known_here() -> bool:
    """Whether objects lie in memory as `python_call.ll` takes them: in this Python, by this NumPy."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if object.__basicsize__ != _HEADER or np.ndarray.__basicsize__ < ctypes.sizeof(_ArrayObject):
        return False
    if not all(hasattr(ctypes.pythonapi, name) for name in (*_FUNCTIONS.values(), "PyCFunction_NewEx")):
        return False
    return all(map(_is_as_expected, _probes()))


def _probes() -> list[Array]:
    """Arrays that differ in all that is read of them."""
    whole = np.arange(2 * 3 * 5, dtype=np.int16).reshape(2, 3, 5)
    shifted = np.zeros(4 * 7 + 1, np.uint8)[1:].view(np.float32)
    return [whole, whole.T, whole[1:, :, ::2], np.zeros((), np.float64), np.empty((0, 3), np.bool_), shifted]


def _is_as_expected(array: Array) -> bool:
    """Whether what lies at an array's address is what the array says of itself."""
    found = _ArrayObject.from_address(id(array))
    dense = _C_CONTIGUOUS * array.flags.c_contiguous | _ALIGNED * array.flags.aligned
    return (
        found.type == id(np.ndarray)
        and found.elements == array.ctypes.data
        and found.rank == array.ndim
        and found.dtype == id(array.dtype)
        and found.flags & (_C_CONTIGUOUS | _ALIGNED) == dense
        and tuple(found.shape[: found.rank]) == array.shape
        and tuple(found.strides[: found.rank]) == array.strides
    )


def _tensor(type_: TensorType) -> _Tensor:
    return _Tensor(type_.dtype.numpy, type_.rank, (ctypes.c_int64 * max(1, type_.rank))(*type_.shape))
