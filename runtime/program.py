"""A compiled network in this process, callable on arrays.

The machine code runs the whole network in one call, on its own worker threads; this class owns what the code is given:
arena, packed weights, the context of `netc.h`. Calls from several threads take turns; a call amid a call of the same
thread (by a signal handler, by a finalizer) runs at once, and a forked child starts afresh. A program with a state
refuses calls amid a call, which would find the state half changed; a forked child has a copy of the state.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler.backends import backend_of
from ..compiler.backends.backend import LoadedObject
from ..compiler.backends.cpu.codegen.host import host_target
from ..compiler.errors import InternalError, NetcError, near_miss
from ..compiler.graph.interpreter import NO_PARAMETERS
from ..compiler.lowering.packing import aligned_bytes
from ..compiler.modules.module import Module
from ..compiler.targets.target import Target
from ..compiler.types import TensorType
from .host import available_cores

Array = NDArray[Any]

THREADS_PER_CORE = 4
"""How many threads a program starts at most, for each core: more only wait for each other."""

_CROWDED = 1
"""The place in `Context.internal` that says whether threads outnumber cores."""

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

    def __init__(
        self, loaded: LoadedObject, module: Module, weights: Array, threads: int, state: Array | None = None
    ) -> None:
        pointer = ctypes.c_void_p
        self.name = module.name
        self.loaded = loaded
        self.start_function = ctypes.CFUNCTYPE(ctypes.c_int32, pointer)(loaded.addresses["netc_start"])
        self.run_function = ctypes.CFUNCTYPE(None, pointer)(loaded.addresses["netc_run"])
        self.stop_function = ctypes.CFUNCTYPE(None, pointer)(loaded.addresses["netc_stop"])
        self.weights = weights
        self.arena = aligned_bytes(module.arena_bytes)
        self.state = aligned_bytes(module.state_bytes) if state is None else state
        tensors = len(module.inputs) + len(module.outputs)
        self.buffers = (ctypes.c_void_p * (tensors + 1))()
        self.buffers[tensors] = self.state.ctypes.data
        memory: Any = aligned_bytes(ctypes.sizeof(Context))
        self.context = Context.from_buffer(memory)
        self.context.arena = self.arena.ctypes.data
        self.context.weights = weights.ctypes.data
        self.context.buffers = ctypes.addressof(self.buffers)
        self.address = ctypes.addressof(self.context)
        self.context.threads = self.threads = threads
        self.lock = threading.RLock()
        self.caller = 0
        """The thread that is inside a call; 0: none."""
        self.started = False
        self.closed = False
        self.torn = False
        """The state is that of a step half done."""
        self.has_state = False
        """Results depend on the calls before."""
        _SESSIONS.add(self)

    def run(self, arrays: Sequence[Array], profile: int | None) -> None:
        """Run on all inputs and outputs; `profile` is where time stamps go."""
        with self.lock:
            if self.caller:
                if self.has_state:
                    raise NetcError(f"program {self.name} keeps a state: it can't be called amid a call of its own")
                with self._set_aside():
                    self._run(arrays, profile)
                return
            self.caller = threading.get_ident()
            try:
                self._run(arrays, profile)
            finally:
                self.caller = 0

    def _run(self, arrays: Sequence[Array], profile: int | None) -> None:
        buffers = self.buffers
        for i, array in enumerate(arrays):
            buffers[i] = _address(array)
        self.context.profile = profile
        if not self.started:
            self._start()
        self.run_function(self.address)

    @contextmanager
    def _set_aside(self) -> Iterator[None]:
        """Put back afterwards what the call under way has prepared; Python runs before and after its machine code."""
        buffers, profile = list(self.buffers), self.context.profile
        try:
            yield
        finally:
            self.buffers[:] = buffers
            self.context.profile = profile

    def _start(self) -> None:
        """Create the worker threads."""
        self.check()
        if self.closed:
            raise NetcError(f"program {self.name} is closed")
        if self.threads > 1 and not self.context.internal[0]:  # none run
            cores = available_cores()
            self.context.threads = min(self.threads, THREADS_PER_CORE * cores)
            self.context.internal[_CROWDED] = self.context.threads > cores
        status = self.start_function(self.address)
        if status:
            raise NetcError(f"can't start {self.context.threads - 1} worker threads: {os.strerror(status)}")
        self.started = True

    def check(self) -> None:
        """Raise `NetcError` if a fork has left half a step."""
        if self.torn:
            reason = "its process was forked while another thread changed its state"
            raise NetcError(f"program {self.name} can't go on: {reason}", hint="fork between steps")

    def close(self) -> None:
        """`stop`, unless that would pull the threads from under a call of this thread."""
        with self.lock:
            if self.caller:
                raise NetcError(f"program {self.name} can't be closed amid a call")
            self.stop()

    def stop(self) -> None:
        """End the worker threads for good."""
        self.closed = True
        self.started = False
        self.stop_function(self.address)

    def renew(self) -> None:
        """Forget, in a forked child, the threads of the parent: the workers, and the one that was inside a call."""
        self.lock = threading.RLock()
        self.started = False
        ctypes.memset(self.address + Context.internal.offset, 0, Context.internal.size)
        if self.caller not in (0, threading.get_ident()):
            self.caller = 0
            self.torn = self.state.size > 0
            self.arena[:] = 0


_SESSIONS: weakref.WeakSet[_Session] = weakref.WeakSet()


def _renew_all() -> None:
    for session in list(_SESSIONS):
        session.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


class Outputs(tuple[Array, ...]):
    """What a network with several outputs gives: a tuple, of which a name chooses an item, too."""

    names: tuple[str, ...]

    def __new__(cls, arrays: Iterable[Array], names: tuple[str, ...]) -> Outputs:
        """The arrays, and the names in their order."""
        self = super().__new__(cls, arrays)
        self.names = names
        return self

    def __getnewargs__(self) -> tuple[tuple[Array, ...], tuple[str, ...]]:
        return tuple(self), self.names

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, str):
            return super().__getitem__(which)
        if which not in self.names:
            hint = near_miss(which, self.names) or f"there are {', '.join(self.names)}"
            raise NetcError(f"there is no output `{which}`", hint=hint)
        return super().__getitem__(self.names.index(which))


class Program:
    """A network compiled for this machine: `program(x)` runs it.

    Inputs are arrays by position or by name, outputs are fresh arrays: one, or a tuple where the network has several.
    The name of an output chooses an item of it, too: `program(x)["boxes"]`.
    `state` holds the parameters that the network itself changes, if any: live views by name, which may be read and
    written between calls. Each call goes on from the state that the call before it left, whichever thread made that;
    `reset` begins anew with the values of `initial`. `threads` is how many it uses at most (see `THREADS_PER_CORE`).
    Thread-safe: concurrent calls wait for each other. `close` (or leaving a `with` block) ends its worker threads;
    otherwise that happens when it is collected. A forked child has a program of its own, except where another thread
    was changing the state: then `NetcError` is raised there.
    """

    def __init__(
        self,
        module: Module,
        code: bytes,
        target: Target | None = None,
        threads: int = 1,
        params: Mapping[str, Array] = NO_PARAMETERS,
        initial: Mapping[str, Array] = NO_PARAMETERS,
        *,
        shares: Program | None = None,
    ) -> None:
        """`shares`: another program whose state this one has in common; its own parameters come first there."""
        if threads < 1:
            raise NetcError(f"a program runs on at least one thread, not {threads}")
        self.module = module
        self.threads = threads
        self.inputs = dict(module.inputs)
        self.outputs = dict(module.outputs)
        target = target or host_target()
        backend = backend_of(target)
        loaded = backend.load(code, target, ("netc_start", "netc_run", "netc_stop"))
        self._package = backend.package
        region = None if shares is None else shares._shared_state(module)
        self._session = _Session(loaded, module, self._package(module, params), threads, region)
        self._state = _views(self._session.state, module)
        self._initial = {name: initial[name] for name in self._state if name in initial}
        self._session.has_state = bool(self._initial)
        if shares is None:
            self._fill_state(params)
        self._expected = tuple((t.dtype.numpy, t.shape) for _, t in module.inputs)
        self._names = tuple(name for name, _ in module.outputs)
        self._results = tuple((t.shape, t.dtype.numpy) for _, t in module.outputs)
        weakref.finalize(self, _Session.stop, self._session)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        outputs = ", ".join(map(str, self.outputs.values()))
        return f"<Program {self.module.name}({inputs}) -> {outputs}, threads={self.threads}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"program {self.module.name} can't be copied or pickled: pass its network and weights instead")

    @property
    def packed_weights(self) -> Array:
        """The weights as the machine code reads them: bytes."""
        return self._session.weights

    @property
    def state(self) -> Mapping[str, Array]:
        """The parameters that the network changes, by name: live views."""
        self._session.check()
        return self._state

    def __call__(self, *arrays: Array, **named: Array) -> Array | tuple[Array, ...]:
        """Run the network once. Shapes and dtypes must be exactly those of `inputs`, else `NetcError`."""
        return self._invoke(arrays, named, None)

    def write(self, outputs: Sequence[Array], *arrays: Array) -> None:
        """Run the network once; its outputs go to C-contiguous arrays of their shapes and dtypes, else `NetcError`."""
        for array, (shape, dtype) in zip(outputs, self._results, strict=True):
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise NetcError(
                    f"an output of {self.module.name} is {dtype}{list(shape)}, not {array.dtype}{list(array.shape)}"
                )
        self._session.run([*self._operands(arrays, {}), *outputs], None)

    def profile(self, *arrays: Array, **named: Array) -> list[int]:
        """Run once and return the nanoseconds of each call of `module.calls`, as the first thread saw them.

        Of calls in a loop the last one counts; the first of them gets the time of all iterations before.
        """
        stamps = np.zeros(len(self.module.calls) + 1, np.int64)
        self._invoke(arrays, named, stamps.ctypes.data)
        return [int(t) for t in np.diff(np.maximum.accumulate(stamps))]  # what was left out has no stamp

    def repack(self, params: Mapping[str, Array]) -> None:
        """Take other values for the parameters, all of them; calls under way in other threads end first."""
        with self._session.lock:
            self._package(self.module, params, self._session.weights)
            self._fill_state(params)

    def reset(self) -> None:
        """Give the state the values that the network states for its beginning; calls under way end first.

        A network without such a state has nothing to set back. Raises `NetcError` amid a call of this thread.
        """
        session = self._session
        with session.lock:
            if session.caller and self._initial:
                raise NetcError(f"program {self.module.name} can't be set back amid a call")
            self._fill_state(self._initial)
            if self._initial:
                session.torn = False

    def _fill_state(self, params: Mapping[str, Array]) -> None:
        """Give the state its first values: those that the network states, of all others those of `params`."""
        for name, view in self._state.items():
            if name in self._initial or name in params:
                view[...] = self._initial[name] if name in self._initial else params[name]

    def close(self) -> None:
        """End the worker threads. The program can't be called afterwards; `NetcError` amid a call of this thread."""
        self._session.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _invoke(
        self, arrays: Sequence[Array], named: Mapping[str, Array], profile: int | None
    ) -> Array | tuple[Array, ...]:
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        self._session.run([*self._operands(arrays, named), *results], profile)
        return results[0] if len(results) == 1 else Outputs(results, self._names)

    def _operands(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> list[Array]:
        """The inputs in order, as the machine code takes them."""
        if named or len(arrays) != len(self._expected):
            arrays = self._by_name(arrays, named)
        return [
            a
            if type(a) is np.ndarray and a.dtype == dtype and a.shape == shape and a.flags.c_contiguous
            else self._prepared(i, a)
            for i, (a, (dtype, shape)) in enumerate(zip(arrays, self._expected, strict=True))
        ]

    def _shared_state(self, module: Module) -> Array:
        """The state, for a program of `module`, whose parameters must lie at its beginning."""
        if module.state != self.module.state[: len(module.state)]:
            raise InternalError(f"{module.name} has another state than {self.module.name}")
        return self._session.state

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
