"""A library that `netc build` wrote, loaded back into Python: called as a program is, by the facts that it holds."""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler.arrays import aligned_bytes
from ..compiler.errors import NetcError, near_miss
from ..compiler.library.elf import is_cut_off
from ..compiler.library.facts import KEY, START, is_sound
from ..compiler.library.interface import ABI, MEANINGS, Status
from ..compiler.types import DType
from .closing import Closing

Array = NDArray[Any]


def load_library(
    path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None, threads: int = 1
) -> LoadedLibrary:
    """Load a shared library that `netc build` wrote for this machine.

    `weights` is the file of its weights, where it has one (default: beside the library); `threads` how many a run uses,
    at most as many as it was built for. Raises `NetcError` if it is no such library, can't be loaded, or refuses the
    weights.
    """
    return LoadedLibrary(Path(path), None if weights is None else Path(weights), threads)


class LoadedLibrary(Closing):
    """A network in a shared library: `library(x)` runs it on arrays by position or by name.

    Gives fresh arrays: one, or a tuple where there are several outputs. `facts` are what the library says of itself.
    Not thread-safe: a library runs one call at a time.
    """

    def __init__(self, path: Path, weights: Path | None, threads: int) -> None:
        self.facts: Mapping[str, Any] = read_facts(path)
        self._library = _opened(path, self.facts)
        if not 1 <= threads <= self.facts["threads"]:
            most = self.facts["threads"]
            raise NetcError(f"{path} runs on 1 to {most} threads, not {threads}", hint="netc build --threads")
        self._workspace = aligned_bytes(self.facts["workspace_bytes"])
        self._weights = self._bind(path, weights)
        self._context = self._start(threads)
        if self.facts["state_bytes"]:
            self.reset()

    def __call__(self, *arrays: Array, **named: Array) -> Array | tuple[Array, ...]:
        """The outputs for inputs of the types that `facts` state."""
        tensors = self.facts["inputs"]
        names = [tensor["identifier"] for tensor in tensors]
        given = dict(zip(names, arrays, strict=False)) | named
        if len(arrays) > len(names) or set(given) != set(names) or len(given) != len(arrays) + len(named):
            wrong = next((name for name in named if name not in names), "")
            raise NetcError(
                f"{self.facts['net']} takes {', '.join(names) or 'no inputs'}", hint=near_miss(wrong, names)
            )
        inputs = [_checked(given[tensor["identifier"]], tensor) for tensor in tensors]
        outputs = [np.empty(tensor["shape"], _dtype(tensor)) for tensor in self.facts["outputs"]]
        tables = _table(inputs), _table(outputs)
        if self._context is None:
            self._check(self.facts["function"], _address(self._workspace), *tables)
        else:
            self._check(f"context_{self.facts['function']}", _address(self._context), *tables)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def reset(self) -> None:
        """Begin anew with the state that the network begins with."""
        self._check("reset", _address(self._workspace))

    def state(self) -> dict[str, Array]:
        """A copy of what a network keeps from run to run, or of what is trained, by name: weights among others."""
        return read_state(self.facts, self._workspace)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that `state` returned; what it lacks stays. Raises `NetcError` for what doesn't fit."""
        places = {part["name"]: part for part in self.facts["state"]}
        for name, array in state.items():
            if name not in places:
                raise NetcError(f"the state has no `{name}`", hint=near_miss(name, places))
            part = places[name]
            start, given = part["offset"], _checked(array, {**part, "identifier": name})
            self._workspace[start : start + given.nbytes] = given.reshape(-1).view(np.uint8)

    def selftest(self) -> None:
        """Run the library's test of itself; raises `NetcError` if the answer is another one."""
        if not self.facts["selftest_bytes"]:
            raise NetcError(f"{self.facts['net']} was built without a self-test")
        buffers = aligned_bytes(self.facts["selftest_bytes"])
        self._check("selftest", _address(self._workspace), _address(buffers))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the classes of the first output are called; empty if they have no names."""
        count = self.facts["labels"]
        if not count:
            return ()
        table = (ctypes.c_char_p * count).in_dll(self._library, f"{self.facts['prefix']}_labels")
        return tuple((text or b"").decode() for text in table)

    def preprocess(self, pixels: Array) -> Array:
        """The input that the library makes of a picture, uint8 [height, width, 1 or 3]."""
        if not self.facts["preprocess"]:
            raise NetcError(f"{self.facts['net']} was built without preprocessing")
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise NetcError("a picture is an array uint8[height, width, channels]")
        pixels = np.ascontiguousarray(pixels)
        height, width, channels = pixels.shape
        sizes = [ctypes.c_int32(size) for size in (height, width, channels)]
        scratch = aligned_bytes(self._function("preprocess_bytes", ctypes.c_size_t)(*sizes[:2]))
        tensor = self.facts["inputs"][0]
        result = np.zeros(tensor["shape"], _dtype(tensor))
        stride = ctypes.c_ssize_t(width * channels)
        self._check("preprocess", _address(pixels), *sizes, stride, _address(scratch), _address(result))
        return result

    def close(self) -> None:
        """End the threads of a context."""
        context, self._context = self._context, None
        if context is not None:
            self._function("context_stop", None)(_address(context))

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.close()

    def _bind(self, path: Path, given: Path | None) -> mmap.mmap | None:
        """Map the weights, which must stay as long as the library is used."""
        name = self.facts["weights_file"]
        if name is None:
            if given is not None:
                raise NetcError(f"{path} has its weights inside")
            return None
        file = given or path.parent / name
        try:
            with file.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise NetcError(f"can't read the weights {file}: {reason}") from None
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        status = self._function("bind")(
            _address(self._workspace), ctypes.c_void_p(address), ctypes.c_size_t(len(mapped))
        )
        if status:
            raise NetcError(f"{path} refuses {file}: {_meaning(status)}")
        return mapped

    def _start(self, threads: int) -> Array | None:
        if threads == 1:
            return None
        context = aligned_bytes(self.facts["context_bytes"])
        self._check("context_start", _address(context), _address(self._workspace), ctypes.c_int32(threads))
        return context

    def _function(self, name: str, result: Any = ctypes.c_int32) -> Any:
        try:
            function = self._library[f"{self.facts['prefix']}_{name}"]
        except AttributeError as error:
            raise NetcError(f"the library lacks what it says it has: {error}") from None
        function.restype = result
        return function

    def _check(self, name: str, *arguments: Any) -> None:
        status = self._function(name)(*arguments)
        if status:
            raise NetcError(f"{self.facts['prefix']}_{name}: {_meaning(status)}")


def read_facts(path: Path) -> Mapping[str, Any]:
    """What a library, or an object, says of itself; raises `NetcError` if it says nothing, or what netc didn't write.

    Sizes and shapes are used as they stand, as addresses of memory are made of them.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(START)
            text = data[start : data.find(b"\0", start)] if start >= 0 else b""
    except OSError as error:
        raise NetcError(f"can't read {path}: {error.strerror or error}") from None
    except ValueError:
        text = b""
    if not text:
        raise NetcError(f"{path} is no library of `netc build`")
    if not is_sound(text):
        raise NetcError(f"{path} is damaged: its facts are not those that it was built with", hint="build it again")
    facts: Mapping[str, Any] = json.loads(text)
    if facts[KEY] != ABI:
        raise NetcError(f"{path} has the interface {facts[KEY]}, not {ABI}", hint="build it again")
    return facts


def read_state(facts: Mapping[str, Any], workspace: bytes | Array) -> dict[str, Array]:
    """What a workspace holds of a network's state, by name; `facts` are those of `read_facts`.

    Raises `NetcError` if the workspace is too small.
    """
    found = {}
    for part in facts["state"]:
        count, dtype = math.prod(part["shape"]), DType(part["dtype"]).numpy
        if len(workspace) < part["offset"] + count * dtype.itemsize:
            raise NetcError(f"the workspace of {facts['net']} has more than {len(workspace):,} bytes")
        found[part["name"]] = np.frombuffer(workspace, dtype, count, part["offset"]).reshape(part["shape"]).copy()
    return found


def _opened(path: Path, facts: Mapping[str, Any]) -> ctypes.CDLL:
    """The library, as a file of its own: the system would give one that was loaded from this path before."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        try:
            shutil.copyfile(path, copy)
            if copy.suffix == ".so" and is_cut_off(copy.read_bytes()):
                raise NetcError(f"{path} is damaged: its end is missing", hint="build it again")
            return ctypes.CDLL(os.fspath(copy))
        except OSError as error:
            raise NetcError(f"can't load {path}: {error}", hint=f"it is for {facts['target']}") from None


def _meaning(status: int) -> str:
    known = status in set(Status)
    return MEANINGS[Status(status)] if known else f"status {status}"


def _dtype(tensor: Mapping[str, Any]) -> np.dtype[Any]:
    return DType(tensor["dtype"]).numpy


def _checked(array: Array, tensor: Mapping[str, Any]) -> Array:
    wanted = f"{_dtype(tensor)}[{','.join(map(str, tensor['shape']))}]"
    if not isinstance(array, np.ndarray) or array.dtype != _dtype(tensor) or list(array.shape) != tensor["shape"]:
        raise NetcError(f"input `{tensor['identifier']}` takes a NumPy array {wanted}")
    return np.ascontiguousarray(array)


def _address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _table(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))
