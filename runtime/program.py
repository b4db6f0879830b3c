"""A compiled network in this process, callable on arrays.

The machine code runs the whole network in one call, on its own worker threads; this class owns what the code is given:
arena, packed weights, the context of `netc.h`. Calls from several threads take turns.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler.codegen.jit import LoadedObject, load_object
from ..compiler.codegen.target import Target
from ..compiler.errors import InternalError, NetcError, near_miss
from ..compiler.graph.interpreter import NO_PARAMETERS, evaluate_outputs
from ..compiler.graph.types import TensorType
from ..compiler.loops.module import Module

Array = NDArray[Any]

ALIGNMENT = 64
"""Of arena and weights, in bytes."""


_BYTE = ctypes.c_char


class Context(ctypes.Structure):
    """`struct netc_context` of `netc.h`."""

    _fields_ = (
        ("arena", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("profile", ctypes.c_void_p),
        ("internal", ctypes.c_uint64 * 67),
    )


class _Session:
    """Machine code, memory and worker threads of a program; apart from `Program` so that a finalizer can hold it."""

    def __init__(self, loaded: LoadedObject, module: Module, weights: Array, threads: int) -> None:
        pointer = ctypes.c_void_p
        self.loaded = loaded
        self.start_function = ctypes.CFUNCTYPE(ctypes.c_int32, pointer)(loaded.addresses["netc_start"])
        self.run_function = ctypes.CFUNCTYPE(None, pointer)(loaded.addresses["netc_run"])
        self.stop_function = ctypes.CFUNCTYPE(None, pointer)(loaded.addresses["netc_stop"])
        self.weights = weights
        self.arena = aligned_bytes(module.arena_bytes)
        self.state = aligned_bytes(module.state_bytes)
        tensors = len(module.inputs) + len(module.outputs)
        self.buffers = (ctypes.c_void_p * (tensors + 1))()
        self.buffers[tensors] = self.state.ctypes.data
        memory: Any = aligned_bytes(ctypes.sizeof(Context))
        self.context = Context.from_buffer(memory)
        self.context.arena = self.arena.ctypes.data
        self.context.weights = weights.ctypes.data
        self.context.buffers = ctypes.addressof(self.buffers)
        self.context.threads = threads
        self.address = ctypes.addressof(self.context)
        self.process = 0
        """Where the worker threads live; a forked child has none of its parent's. 0: not started."""

    def start(self) -> None:
        """Create the worker threads."""
        status = self.start_function(self.address)
        if status:
            raise NetcError(f"can't start {self.context.threads - 1} worker threads: {os.strerror(status)}")
        self.process = os.getpid()

    def stop(self) -> None:
        """End the worker threads."""
        if self.process == os.getpid():
            self.stop_function(self.address)
        self.process = 0


class Program:
    """A network compiled for this machine: `program(x)` runs it.

    Inputs are arrays by position or by name, outputs are fresh arrays: one, or a tuple where the network has several.
    `state` holds the parameters that the network itself changes, if any: live views by name, which may be read and
    written between calls. Thread-safe: concurrent calls wait for each other. `close` (or leaving a `with` block) ends
    its worker threads; otherwise that happens when it is collected.
    """

    def __init__(
        self,
        module: Module,
        code: bytes,
        target: Target | None = None,
        threads: int = 1,
        params: Mapping[str, Array] = NO_PARAMETERS,
    ) -> None:
        if threads < 1:
            raise NetcError(f"a program runs on at least one thread, not {threads}")
        self.module = module
        self.threads = threads
        self.inputs = dict(module.inputs)
        self.outputs = dict(module.outputs)
        loaded = load_object(code, target or Target.host(), ("netc_start", "netc_run", "netc_stop"))
        self._session = _Session(loaded, module, pack_weights(module, params), threads)
        self.state = _views(self._session.state, module)
        for name, view in self.state.items():
            view[...] = params[name]
        self._expected = tuple((t.dtype.numpy, t.shape) for _, t in module.inputs)
        self._results = tuple((t.shape, t.dtype.numpy) for _, t in module.outputs)
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _Session.stop, self._session)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        outputs = ", ".join(map(str, self.outputs.values()))
        return f"<Program {self.module.name}({inputs}) -> {outputs}, threads={self.threads}>"

    def __call__(self, *arrays: Array, **named: Array) -> Array | tuple[Array, ...]:
        """Run the network once. Shapes and dtypes must be exactly those of `inputs`, else `NetcError`."""
        return self._invoke(arrays, named, None)

    def profile(self, *arrays: Array, **named: Array) -> list[int]:
        """Run once and return the nanoseconds of each call of `module.calls`, as the first thread saw them."""
        stamps = np.zeros(len(self.module.calls) + 1, np.int64)
        self._invoke(arrays, named, stamps.ctypes.data)
        return [int(t) for t in np.diff(stamps)]

    def close(self) -> None:
        """End the worker threads. The program can't be called afterwards."""
        with self._lock:
            self._close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _invoke(
        self, arrays: Sequence[Array], named: Mapping[str, Array], profile: int | None
    ) -> Array | tuple[Array, ...]:
        if named or len(arrays) != len(self._expected):
            arrays = self._by_name(arrays, named)
        operands = [
            a
            if type(a) is np.ndarray and a.dtype == dtype and a.shape == shape and a.flags.c_contiguous
            else self._prepared(i, a)
            for i, (a, (dtype, shape)) in enumerate(zip(arrays, self._expected, strict=True))
        ]
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        self._run([*operands, *results], profile)
        return results[0] if len(results) == 1 else tuple(results)

    def _run(self, arrays: Sequence[Array], profile: int | None) -> None:
        """Run on all inputs and outputs; `profile` is where time stamps go."""
        session = self._session
        with self._lock:
            if session.process != os.getpid():
                if not self._close.alive:
                    raise NetcError(f"program {self.module.name} is closed")
                session.start()
            buffers = session.buffers
            for i, array in enumerate(arrays):
                buffers[i] = _address(array)
            session.context.profile = profile
            session.run_function(session.address)

    def _by_name(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> tuple[Array, ...]:
        """All inputs in order, from those given by position and by name."""
        names = list(self.inputs)
        if len(arrays) > len(names):
            raise NetcError(f"{self.module.name} takes {len(names)} input(s), not {len(arrays)}")
        given = dict(zip(names, arrays, strict=False))
        for name, array in named.items():
            if name not in self.inputs:
                hint = near_miss(name, names) or f"its inputs are {', '.join(names)}"
                raise NetcError(f"{self.module.name} has no input `{name}`", hint=hint)
            if name in given:
                raise NetcError(f"input `{name}` of {self.module.name} is given twice")
            given[name] = array
        missing = [name for name in names if name not in given]
        if missing:
            raise NetcError(f"{self.module.name} lacks its input(s) {', '.join(missing)}")
        return tuple(given[name] for name in names)

    def _prepared(self, position: int, array: Array) -> Array:
        """A C-contiguous copy of an input, or `NetcError` where it doesn't fit."""
        name, wanted = self.module.inputs[position]
        if not isinstance(array, np.ndarray):
            raise NetcError(f"input `{name}` takes a NumPy array {_text(wanted)}, not {type(array).__name__}")
        if array.dtype != wanted.dtype.numpy or array.shape != wanted.shape:
            found = f"{array.dtype}[{','.join(map(str, array.shape))}]"
            raise NetcError(f"input `{name}` takes {_text(wanted)}, not {found}")
        return np.ascontiguousarray(array)


def _views(region: Array, module: Module) -> dict[str, Array]:
    """The tensors of the state region by name."""
    views: dict[str, Array] = {}
    for name, type_, offset in module.state:
        data = region[offset : offset + type_.bytes].view(type_.dtype.numpy)
        views[name] = data.reshape(type_.shape)
    return views


def _text(type: TensorType) -> str:  # noqa: A002 (the field's own word)
    return f"{type.dtype.numpy}[{','.join(map(str, type.shape))}]"


def _address(array: Any) -> int:
    """Where an array's elements lie; `ctypes.data` says the same in three times the time."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(_BYTE.from_buffer(array))
    return int(array.ctypes.data)


def aligned_bytes(size: int) -> Array:
    """Zeroed memory that starts at a multiple of `ALIGNMENT`."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def pack_weights(module: Module, params: Mapping[str, Array]) -> Array:
    """The weights region: the outputs of the set-up graph, one after the other so that few are in memory at a time."""
    region = aligned_bytes(module.weights_bytes)
    produced = evaluate_outputs(module.setup, params)
    for offset, array in zip(module.weight_offsets, produced, strict=True):
        end = offset + array.nbytes
        if end > module.weights_bytes:
            raise InternalError(f"packed weight at {offset} ends at {end}, beyond {module.weights_bytes} bytes")
        region[offset:end] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return region
