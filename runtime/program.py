"""A compiled network in this process, callable on arrays.

The machine code runs the whole network in one call, on its own worker threads. Calls from several threads run side by
side (`callers.py`); a call amid a call of the same thread (by a signal handler, by a finalizer) runs at once, and a
forked child starts afresh. Calls of a program with a state take turns, and those amid a call are refused, which would
find the state half changed; a forked child has a copy of the state.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import addressof
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import empty, ndarray
from numpy.typing import NDArray

from ..compiler.errors import InternalError, NetcError, near_miss
from ..compiler.image import PYTHON_CALL, LoadedObject
from ..compiler.types import TensorType
from .callers import Callers
from .closing import Closing
from .direct import direct_call
from .session import NO_BUFFER, Addresses, Plan, Session, address_of, element
from .session import THREADS_PER_CORE as THREADS_PER_CORE
from .session import Context as Context

if TYPE_CHECKING:
    from ..compiler.modules.module import Module
    from ..compiler.targets.target import Target

NO_PARAMETERS: Mapping[str, NDArray[Any]] = MappingProxyType({})
ENTRIES = ("netc_start", "netc_run", "netc_stop", PYTHON_CALL)
"""The functions that a program calls: those of netc.h, and one that older saved programs lack."""

Array = NDArray[Any]


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


class Program(Closing):
    """A network compiled for this machine: `program(x)` runs it.

    Inputs are arrays by position or by name, outputs are fresh arrays: one, or a tuple where the network has several.
    The name of an output chooses an item of it, too: `program(x)["boxes"]`.
    `state` holds the parameters that the network itself changes, if any: live views by name, which may be read and
    written between calls. Each call goes on from the state that the call before it left, whichever thread made that;
    `reset` begins anew with the values of `initial`. `threads` is how many it uses at most (see `THREADS_PER_CORE`).
    Thread-safe: concurrent calls run side by side, each beyond the first on one thread and with memory of its own for
    activations, up to the cores there are. Others wait in the order in which they come, as all do where there is a
    state. `close` (or leaving a `with` block) ends its worker threads; otherwise that happens when it is collected.
    A forked child has a program of its own, except where another thread was changing the state: then `NetcError` is
    raised there.
    """

    _pack: Callable[[Mapping[str, Array], Array], Array] | None = None
    """Packs parameters into memory for weights; None where these are mapped from a file."""

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
        packed: Array | None = None,
    ) -> None:
        """`shares`: another program whose state this one has in common; its own parameters come first there.

        `packed`: the weights, where the backend has packed them already.
        """
        from ..compiler.backends import backend_of  # brings the compiler along, which a saved program does without
        from ..compiler.backends.cpu.codegen.host import host_target

        target = target or host_target()
        backend = backend_of(target)
        loaded = backend.load(code, target, ENTRIES)
        region = None if shares is None else shares._shared_state(module)
        weights = backend.package(module, params) if packed is None else packed
        self._begin(module, loaded, weights, threads, initial, region)
        self._pack = partial(backend.package, module)
        if shares is None:
            self._fill_state(params)

    def _begin(
        self,
        module: Plan,
        loaded: LoadedObject,
        weights: Array,
        threads: int,
        initial: Mapping[str, Array],
        region: Array | None = None,
    ) -> None:
        """Make ready to run; `region` is a state in common with another program."""
        if threads < 1:
            raise NetcError(f"a program runs on at least one thread, not {threads}")
        self.module = module
        self.threads = threads
        self.inputs = dict(module.inputs)
        self.outputs = dict(module.outputs)
        self._session = Session(loaded, module, weights, threads, region)
        self._callers = Callers(self._session)
        self._state = _views(self._session.state, module)
        self._initial = {name: initial[name] for name in self._state if name in initial}
        self._session.has_state = bool(self._initial)
        self._expected = tuple((t.dtype.numpy, t.shape) for _, t in module.inputs)
        self._names = tuple(name for name, _ in module.outputs)
        self._results = tuple((t.shape, t.dtype.numpy) for _, t in module.outputs)
        self._is_single = len(self._results) == 1
        types = ([type_ for _, type_ in tensors] for tensors in (module.inputs, module.outputs))
        self._direct = direct_call(self._callers, self._session, *types)
        weakref.finalize(self, Callers.stop, self._callers)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        outputs = ", ".join(str(type_) for _, type_ in self.module.outputs)
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
        if self._direct is not None and not named:
            result = self._direct(*arrays)
            if result is not NotImplemented:
                return result
        return self._invoke(arrays, named, None)

    def writer(self, outputs: Sequence[Array]) -> Writer:
        """For calls that leave their outputs in these arrays: they are checked here, once.

        Raises `NetcError` unless they are C-contiguous and have the outputs' shapes and dtypes.
        """
        for array, (shape, dtype) in zip(outputs, self._results, strict=True):
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise NetcError(
                    f"an output of {self.module.name} is {dtype}{list(shape)}, not {array.dtype}{list(array.shape)}"
                )
        return Writer(self, outputs)

    def at(self, addresses: Sequence[int]) -> None:
        """Run the network once on inputs, then outputs, that lie there: arrays as it has them, which nobody checks."""
        self._callers.run([*addresses], None)

    def listen(self, notified: Callable[[int], None] | None) -> None:
        """From now on, calls tell amid their work when outputs are final, by the number of the announcement.

        `module.calls` say what is announced (`compiler.modules.module.final_outputs`). Only for programs with a state,
        whose calls take turns; `notified` runs in the thread that calls, and mustn't raise.
        """
        assert self._session.has_memory, "calls of a program without state run side by side"
        self._session.listen(notified)

    def profile(self, *arrays: Array, **named: Array) -> list[int]:
        """Run once and return the nanoseconds of each call of `module.calls`, as the first thread saw them.

        Of calls in a loop the last one counts; the first of them gets the time of all iterations before.
        """
        stamps = np.zeros(len(self.module.calls) + 1, np.int64)
        self._invoke(arrays, named, stamps.ctypes.data)
        return [int(t) for t in np.diff(np.maximum.accumulate(stamps))]  # what was left out has no stamp

    def repack(self, params: Mapping[str, Array]) -> None:
        """Take other values for the parameters, all of them; calls under way in other threads end first.

        Raises `NetcError` where the weights are those of a saved program, which are only mapped.
        """
        if self._pack is None:
            raise NetcError(f"the weights of program {self.module.name} are mapped from a file: they can't be replaced")
        with self._callers.exclusive():
            self._pack(params, self._session.weights)
            self._fill_state(params)

    def reset(self) -> None:
        """Give the state the values that the network states for its beginning; calls under way end first.

        A network without such a state has nothing to set back. Raises `NetcError` amid a call of this thread.
        """
        session = self._session
        with self._callers.exclusive():
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
        self._callers.close()

    def _invoke(
        self, arrays: Sequence[Array], named: Mapping[str, Array], profile: int | None
    ) -> Array | tuple[Array, ...]:
        _operands, addresses = self._addressed(arrays, named)  # kept while the network runs, as are the results
        results = []
        for shape, dtype in self._results:
            result = empty(shape, dtype)
            results.append(result)
            addresses.append(addressof(element(result)) if result.size else 0)
        self._callers.run(addresses, profile)
        return result if self._is_single else Outputs(results, self._names)

    def _addressed(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> tuple[Sequence[Array], Addresses]:
        """The inputs in order, as the machine code takes them, and where they lie.

        The usual case comes first and takes the fewest steps: the machine code has driven Python's own data from the
        caches, so that each step costs twice what it would in a loop of its own.
        """
        addresses: Addresses = []
        try:
            for array, (dtype, shape) in zip(arrays, self._expected, strict=True):
                if array.__class__ is not ndarray or array.dtype != dtype or array.shape != shape:
                    break
                addresses.append(addressof(element(array)))
            else:
                if not named:
                    return arrays, addresses
        except NO_BUFFER:
            pass
        operands = self._operands(arrays, named)
        return operands, [address_of(a) for a in operands]

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

    def _shared_state(self, module: Plan) -> Array:
        """The state, for a program of `module`, whose parameters must lie at its beginning."""
        if tuple(module.state) != tuple(self.module.state)[: len(module.state)]:
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


class Writer:
    """Runs a program, and leaves its outputs in the same arrays each time; `Program.writer` makes it."""

    def __init__(self, program: Program, outputs: Sequence[Array]) -> None:
        self._addressed, self._run = program._addressed, program._callers.run
        self._outputs = tuple(outputs)  # kept as long as their addresses
        self._addresses: Addresses = [address_of(array) for array in outputs]

    def __call__(self, *arrays: Array) -> None:
        """Run the network once on these inputs; see `Program`."""
        _operands, addresses = self._addressed(arrays, {})  # kept while the network runs
        self._run(addresses + self._addresses, None)

    def at(self, addresses: Sequence[int]) -> None:
        """Run the network once on inputs that lie there: arrays as it takes them, which nobody checks."""
        self._run([*addresses, *self._addresses], None)


def all_outputs(result: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    """What a call of a program gives as a tuple, also where there is one output alone."""
    return result if isinstance(result, tuple) else (result,)


def _views(region: Array, module: Plan) -> dict[str, Array]:
    """The tensors of the state region by name."""
    views: dict[str, Array] = {}
    for name, type_, offset in module.state:
        data = region[offset : offset + type_.bytes].view(type_.dtype.numpy)
        views[name] = data.reshape(type_.shape)
    return views


def _text(type: TensorType) -> str:  # noqa: A002 (the field's own word)
    return f"{type.dtype.numpy}[{','.join(map(str, type.shape))}]"
