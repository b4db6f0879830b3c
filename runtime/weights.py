"""Weights on disk (safetensors) and initial weights, as mappings from parameter names to arrays.

Published weights have other orders of dimensions than netc: the attribute `checkpoint` of a `param` names that of the
file (`compiler/published.py`), the attribute `init` the rule for initial values (`compiler/initial.py`).
Both mappings make an array only when it is asked for, so that a network of half a gigabyte is never in memory twice.
A parameter that states its own value, a state of the network, is no weight: files don't hold it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..compiler.arrays import Scratch
from ..compiler.errors import NetcError, near_miss
from ..compiler.files import replacing
from ..compiler.foreign import HEAD, cure_as_weights
from ..compiler.graph.ir import Array, Graph, Operation
from ..compiler.initial import parse_initial
from ..compiler.patterns import matching
from ..compiler.published import Order, parse_order
from ..compiler.reading import reading, require_file
from ..compiler.stored import SCALES, ZERO_POINTS, read_quantization
from ..compiler.types import DType
from .tensors import write_tensors

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Element types of safetensors; BF16 is read as its bits."""
_FLOATS = ("F64", "F32", "F16", "BF16")
MAX_HEADER = 1 << 24
"""Largest list of tensors that is read, in bytes."""
_IGNORED_SUFFIXES = (".num_batches_tracked", ".relative_position_index")
"""Ends of the names of tensors that published files hold and no net needs: a counter of batch normalisation, constants
of Swin."""
_LARGE = 1 << 20
"""Bytes of a tensor that is worth a memory map of its own."""
_LISTED = 10
"""How many tensors of each kind of trouble a message lists."""
_SKIPPED = 3
"""From so many layers on a file is another network's."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor that was found: its type and shape, and the byte of the file at which it starts."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    def __str__(self) -> str:
        return f"{self.dtype.lower()}[{','.join(map(str, self.shape))}]"


def read_weights(path: str | os.PathLike[str], graph: Graph, skip: str | Sequence[str] = ()) -> Mapping[str, Array]:
    """Open a safetensors file as the weights of `graph`, but for what matches a pattern in `skip`.

    Returns a mapping from parameter name to an array of the parameter's shape and type. Arrays are read when they are
    looked up and may be transposed views. Raises one `NetcError` that lists everything that does not fit: missing,
    surplus (except `_IGNORED_SUFFIXES`) and misshapen tensors and unsuitable element types.
    """
    file = Path(path)
    tensors = _read_header(file)
    left_out = matching(skip, {**dict.fromkeys(map(_name, graph.weights)), **tensors})
    _check(str(file), tensors, graph, _shape_in_file, left_out)
    _check_scales(file, tensors, graph)
    return _FileWeights(file, tensors, {_name(op): op for op in graph.weights if _name(op) not in left_out})


def check_weights(arrays: Mapping[str, Array], graph: Graph, skip: str | Sequence[str] = ()) -> Mapping[str, Array]:
    """Return `arrays`, already in the graph's own layout, if they fit the parameters of `graph`, `skip` aside.

    Raises the same `NetcError` as `read_weights` if they don't.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    found = {
        name: _Tensor(names.get(array.dtype, str(array.dtype)), array.shape)
        for name, array in ((name, np.asarray(array)) for name, array in arrays.items())
    }
    left_out = matching(skip, {**dict.fromkeys(map(_name, graph.weights)), **found})
    _check("the given mapping", found, graph, lambda op: op.result.type.shape, left_out)
    return {name: array for name, array in arrays.items() if name not in left_out} if skip else arrays


def initial_weights(graph: Graph, seed: int = 0) -> Mapping[str, Array]:
    """Weights drawn by each parameter's `init` attribute, as a mapping that draws an array when it is looked up.

    A parameter's values depend on `seed` and its name alone, not on the order or number of the others.
    """
    return _InitialWeights({_name(op): op for op in graph.weights}, seed)


def write_weights(
    path: str | os.PathLike[str],
    graph: Graph,
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
    beside_them: Mapping[str, Array] = MappingProxyType({}),
) -> None:
    """Write the parameters of `graph` to a safetensors file, dimensions in the order of published weights.

    `metadata` are texts by name, `beside_them` further tensors, such as scales of integers. The file appears complete
    or not at all. Raises `NetcError` if `arrays` lacks a parameter, has one of another shape, or the file can't be
    written.
    """
    tensors: dict[str, Array] = {}
    for op in graph.weights:
        name, shape = _name(op), op.result.type.shape
        if name not in arrays:
            raise NetcError(f"there is no value for parameter `{name}`", hint=near_miss(name, arrays))
        if arrays[name].shape != shape:
            raise NetcError(f"parameter `{name}` has shape {list(shape)}, its value {list(arrays[name].shape)}")
        tensors[name] = np.asarray(_order(op).write(arrays[name]), op.result.type.dtype.numpy, order="C")
    tensors.update(beside_them)
    with replacing(path) as part:
        write_tensors(part, tensors, metadata)


# ---- orders of dimensions -------------------------------------------------------------------------------------------


def _order(op: Operation) -> Order:
    return parse_order(op.attributes["checkpoint"], op.result.type.rank)


def _shape_in_file(op: Operation) -> tuple[int, ...]:
    return _order(op).shape_in_file(op.result.type.shape)


def _name(op: Operation) -> str:
    name = op.result.name
    assert name is not None, "parameters have names"
    return name


# ---- files ----------------------------------------------------------------------------------------------------------


def _read_header(file: Path) -> Mapping[str, _Tensor]:
    """What the file holds. The library checks that the file is whole and its header sound; offsets are read here."""
    header, start = _read_json(file)
    header.pop("__metadata__", None)
    return {
        name: _Tensor(entry["dtype"], tuple(entry["shape"]), start + entry["data_offsets"][0])
        for name, entry in header.items()
    }


def read_metadata(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """The texts that a safetensors file holds beside its tensors, by name; raises `NetcError` if it is not one."""
    header, _ = _read_json(Path(path))
    metadata: Mapping[str, str] = header.get("__metadata__", {})
    return metadata


def _read_json(file: Path) -> tuple[dict[str, Any], int]:
    """The header as it is, and the byte at which tensors begin."""
    require_file(file, "weights file")
    hint = "weights are read from .safetensors files only"
    with reading(file, "weights file", hint), file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if MAX_HEADER < length <= file.stat().st_size:
            raise NetcError(
                f"{file} is too large: its header has {length:,} bytes, of which {MAX_HEADER:,} may be read"
            )
        try:
            with safe_open(file, framework="numpy"):
                pass
        except SafetensorError as error:
            reason = f"{file} is not a safetensors file, or a damaged or truncated one ({error})"
            stream.seek(0)
            raise NetcError(reason, hint=cure_as_weights(stream.read(HEAD))) from None
        return json.loads(stream.read(length)), 8 + length


class _FileWeights(Mapping[str, Array]):
    """Reads one tensor at a time; plain reads, as pages of a memory map that stays would count as the process's own."""

    def __init__(
        self,
        file: Path,
        tensors: Mapping[str, _Tensor],
        parameters: Mapping[str, Operation],
        read: Callable[[Path, _Tensor], Array] | None = None,
    ) -> None:
        self._file = file
        self._tensors = tensors
        self._parameters = parameters
        self._read = read or _read

    def to_be_read_once(self) -> Mapping[str, Array]:
        """See `lowering.packing.ReadOnce`."""
        return _FileWeights(self._file, self._tensors, self._parameters, _mapped)

    def __getitem__(self, name: str) -> Array:
        op = self._parameters[name]
        tensor = self._tensors[name]
        found = self._read(self._file, tensor)
        if tensor.dtype == "BF16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        array: Array = found.astype(op.result.type.dtype.numpy, copy=False)
        return _order(op).read(array)

    def __contains__(self, name: object) -> bool:
        return name in self._parameters  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def _check(
    origin: str,
    tensors: Mapping[str, _Tensor],
    graph: Graph,
    shape_of: Callable[[Operation], tuple[int, ...]],
    skip: Collection[str],
) -> None:
    """Raise one `NetcError` for all differences between what was found and what the graph needs."""
    tensors = {name: tensor for name, tensor in tensors.items() if name not in skip}
    needed = {_name(op): op for op in graph.weights if _name(op) not in skip}
    missing = [name for name in needed if name not in tensors]
    known = {*needed, *(name + end for name, op in needed.items() for end in _ends(op))}
    surplus = [name for name in tensors if name not in known and not name.endswith(_IGNORED_SUFFIXES)]
    misshapen, unsuitable = [], []
    for name, op in needed.items():
        if tensor := tensors.get(name):
            if tensor.shape != shape_of(op):
                misshapen.append(f"{name}: found {tensor}, the net needs [{','.join(map(str, shape_of(op)))}]")
            if not _suits(tensor.dtype, op.result.type.dtype):
                unsuitable.append(f"{name}: found {tensor}, the net needs {op.result.type.dtype}")
    groups: list[tuple[str, list[str], Callable[[str], str]]] = [
        ("missing", missing, lambda name: _with_near_miss(name, surplus)),
        ("surplus", surplus, lambda name: _with_near_miss(name, missing)),
        ("misshapen", misshapen, str),
        ("of an unsuitable type", unsuitable, str),
    ]
    if any(entries for _, entries, _ in groups):
        counts = ", ".join(f"{len(entries)} {title}" for title, entries, _ in groups if entries)
        lines = [line for title, entries, show in groups for line in _listing(title, entries, show)]
        message = f"{origin} does not fit net {graph.name}; tensors: {counts}"
        unfit = {*missing, *surplus, *(entry.partition(":")[0] for entry in misshapen)}
        hint = _skipping(sorted(unfit)) if not needed.keys() <= unfit else None
        raise NetcError(message, details=lines, hint=hint)


def _ends(op: Operation) -> tuple[str, ...]:
    """What may lie beside a parameter: the scales of integers."""
    return (SCALES, ZERO_POINTS) if op.result.type.quantization is not None else ()


def _check_scales(file: Path, tensors: Mapping[str, _Tensor], graph: Graph) -> None:
    """Raise `NetcError` if the file says that the integers of a parameter stand for other numbers than the net does."""
    for op in graph.weights:
        name, quantization = _name(op), op.result.type.quantization
        if quantization is None or name + SCALES not in tensors:
            continue
        found = {n: _read(file, tensors[n]) for n in (name + SCALES, name + ZERO_POINTS) if n in tensors}
        stated = read_quantization(name, quantization.axis or 0, found)
        if stated != quantization:
            problem = f"{file} does not fit net {graph.name}: the scales of `{name}` are others than in the net"
            raise NetcError(problem, hint="the net has those of the file that it imports")


def _read(file: Path, tensor: _Tensor) -> Array:
    """A tensor as it lies in the file."""
    return _filled(np.empty(tensor.shape, _DTYPES[tensor.dtype]), file, tensor)


def _mapped(file: Path, tensor: _Tensor) -> Array:
    """The same for one reader, if it is large: what lies in the file, page by page as it is asked for."""
    dtype = _DTYPES[tensor.dtype]
    if math.prod(tensor.shape) * dtype.itemsize >= _LARGE and tensor.start % dtype.itemsize == 0:
        with suppress(OSError, ValueError), file.open("rb", buffering=0) as stream:  # plain reading says what is wrong
            return Scratch.of(stream, tensor.start, tensor.shape, dtype)
    return _read(file, tensor)


def _filled(array: Array, file: Path, tensor: _Tensor) -> Array:
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(tensor.start)
            view, done = array.reshape(-1).view(np.uint8).data, 0
            while done < len(view) and (count := stream.readinto(view[done:])):
                done += count
    except OSError as error:
        raise NetcError(f"can't read weights from {file}: {error.strerror or error}") from None
    if done < len(view):
        raise NetcError(f"{file} was truncated while it was read")
    return array


def _skipping(unfit: Sequence[str]) -> str | None:
    """How to train with what fits, if little doesn't."""
    patterns = list(dict.fromkeys(f"{layer}.*" if layer else name for name in unfit for layer in [_layer(name)]))
    if not 0 < len(patterns) <= _SKIPPED:
        return None
    options = " ".join(f"--skip '{pattern}'" for pattern in patterns)
    return f"`netc train` draws a part anew with {options}"


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _suits(found: str, wanted: DType) -> bool:
    """Floats convert to each other; anything else must be of the very type."""
    if wanted.is_float:
        return found in _FLOATS
    return found in _DTYPES and found not in _FLOATS and _DTYPES[found] == wanted.numpy


def _with_near_miss(name: str, candidates: Sequence[str]) -> str:
    cure = near_miss(name, candidates)
    return f"{name} ({cure})" if cure else name


def _listing(title: str, entries: Sequence[str], show: Callable[[str], str]) -> list[str]:
    lines = [f"{title}: {show(entry)}" for entry in entries[:_LISTED]]
    if len(entries) > _LISTED:
        lines.append(f"{title}: ... and {len(entries) - _LISTED} more")
    return lines


# ---- initial values -------------------------------------------------------------------------------------------------


class _InitialWeights(Mapping[str, Array]):
    def __init__(self, parameters: Mapping[str, Operation], seed: int) -> None:
        self._parameters = parameters
        self._seed = seed

    def __getitem__(self, name: str) -> Array:
        op = self._parameters[name]
        dtype, shape = op.result.type.dtype.numpy, op.result.type.shape
        values = parse_initial(op.attributes["init"]).draw(shape, dtype, lambda: _generator(self._seed, name))
        return values.astype(dtype, copy=False)

    def __contains__(self, name: object) -> bool:
        return name in self._parameters  # without drawing it

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def _generator(seed: int, name: str) -> np.random.Generator:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(key, "little")))
