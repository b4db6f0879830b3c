"""What one call of a program needs: machine code, arena, packed weights, the context of `netc.h`, worker threads.

A call amid a call of the same thread (by a signal handler, by a finalizer) runs at once; a forked child starts afresh.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import addressof
from threading import get_ident
from typing import Any, Protocol

from numpy.typing import NDArray

from ..compiler.arrays import aligned_bytes
from ..compiler.errors import Location, NetcError
from ..compiler.image import LoadedObject
from ..compiler.types import TensorType
from .forks import renew_after_fork
from .host import available_cores

Array = NDArray[Any]
Addresses = list[ctypes.c_void_p | int | None]
"""Where the elements of inputs and outputs lie, as ctypes takes it."""

THREADS_PER_CORE = 4
"""How many threads a program starts at most, for each core: more only wait for each other."""

element: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer
"""An object at the beginning of an array's memory, if that may be written."""
NO_BUFFER = (TypeError, ValueError, BufferError)
"""What `element` raises: the array is read-only, empty, not contiguous, or its elements aren't those of buffers."""

_NOTIFY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)

_CROWDED = 1
"""The place in `Context.internal` that says whether threads outnumber cores."""


class Context(ctypes.Structure):
    """`struct netc_context` of `netc.h`."""

    _fields_ = (
        ("arena", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("profile", ctypes.c_void_p),
        ("notify", ctypes.c_void_p),
        ("internal", ctypes.c_uint64 * 66),
    )


class Doors(ctypes.Structure):
    """What a session and its program tell calls that come directly (`direct.py`), and what these tell them.

    `open`: the session has started, and `acquire` and `release` are the methods of its lock. `crowd`: for how many
    calls others are still expected, so that they run side by side, on one thread each. `running`: a thread is inside
    such a call; it isn't the session's `caller`.
    """

    _fields_ = (
        ("open", ctypes.c_int64),
        ("crowd", ctypes.c_int64),
        ("running", ctypes.c_int64),
        ("acquire", ctypes.py_object),
        ("release", ctypes.py_object),
    )


class PlannedCall(Protocol):
    """A call of a kernel, as profiles show it."""

    @property
    def label(self) -> str:
        """The operators that it carries out."""
        ...

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        ...

    @property
    def location(self) -> Location | None:
        """Where they were written."""
        ...


class Plan(Protocol):
    """What a running program knows of itself: a module, or what a saved program holds of one."""

    @property
    def name(self) -> str:
        """Of the network."""
        ...

    @property
    def inputs(self) -> Sequence[tuple[str, TensorType]]:
        """Names and types."""
        ...

    @property
    def outputs(self) -> Sequence[tuple[str, TensorType]]:
        """Names and types."""
        ...

    @property
    def calls(self) -> Sequence[PlannedCall]:
        """Those between which time stamps are taken."""
        ...

    @property
    def arena_bytes(self) -> int:
        """Memory for one run."""
        ...

    @property
    def weights_bytes(self) -> int:
        """Packed weights."""
        ...

    @property
    def state(self) -> Sequence[tuple[str, TensorType, int]]:
        """Name, type and place in its region of each parameter that runs change."""
        ...

    @property
    def state_bytes(self) -> int:
        """Of that region."""
        ...


class Session:
    """Machine code with memory and worker threads for one call at a time; `lock` is held by the thread that calls."""

    def __init__(
        self, loaded: LoadedObject, module: Plan, weights: Array, threads: int, state: Array | None = None
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
        self.module = module
        self.profile: int | None = None
        """What the context holds; asking that takes longer."""
        self.lock = threading.RLock()
        self.caller = 0
        """The thread that is inside a call; 0: none."""
        self.doors = Doors()
        self.started = False
        self.closed = False
        self._notified: Any = None
        self.torn = False
        """The state is that of a step half done."""
        self.has_memory = module.state_bytes > 0
        """What calls change is kept: they can't run side by side."""
        self.has_state = False
        """Results depend on the calls before."""
        renew_after_fork(self)

    def run(self, addresses: Addresses, profile: int | None) -> None:
        """Run on inputs and outputs that lie there; `profile` is where time stamps go. The thread must hold `lock`."""
        if self.caller:
            if self.has_state:
                raise NetcError(f"program {self.name} keeps a state: it can't be called amid a call of its own")
            with self._set_aside():
                self._run(addresses, profile)
            return
        self.caller = get_ident()
        try:
            self._run(addresses, profile)
        finally:
            self.caller = 0

    def _run(self, addresses: Addresses, profile: int | None) -> None:
        self.buffers[: len(addresses)] = addresses
        if profile != self.profile:
            self.context.profile = self.profile = profile
        while not self.started:  # again, if a signal handler forks meanwhile
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
            self.context.profile = self.profile = profile

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
        self.doors.acquire, self.doors.release = self.lock.acquire, self.lock.release
        self.doors.open = 1

    def check(self) -> None:
        """Raise `NetcError` if a fork has left half a step."""
        if self.torn:
            reason = "its process was forked while another thread changed its state"
            raise NetcError(f"program {self.name} can't go on: {reason}", hint="fork between steps")

    def listen(self, notified: Callable[[int], None] | None) -> None:
        """From now on, runs call `notified` with the number of an announcement; None: nobody."""
        self._notified = None if notified is None else _NOTIFY(lambda context, number: notified(number))
        self.context.notify = ctypes.cast(self._notified, ctypes.c_void_p) if self._notified is not None else None

    def stop(self) -> None:
        """End the worker threads for good."""
        self.closed = True
        self.started = False
        self.doors.open = 0
        self.stop_function(self.address)

    def another(self) -> Session:
        """A session beside this one, on one thread: its own memory, the same code and weights."""
        return Session(self.loaded, self.module, self.weights, 1)

    def renew(self) -> None:
        """Forget, in a forked child, the threads of the parent: the workers, and the one that was inside a call."""
        try:
            self.lock.release()
            self.lock.acquire()  # this thread has it: it gives it back when its call ends here, too
        except RuntimeError:
            self.lock = threading.RLock()
        self.started = False
        self.doors.open = 0
        ctypes.memset(self.address + Context.internal.offset, 0, Context.internal.size)
        if self.caller not in (0, get_ident()) or self.doors.running:
            self.caller = self.doors.running = 0
            self.torn = self.state.size > 0
            self.arena[:] = 0


def address_of(array: Any) -> int:
    """Where an array's elements lie; `ctypes.data` says the same in four times the time."""
    try:
        return addressof(element(array))
    except NO_BUFFER:
        return int(array.ctypes.data)
