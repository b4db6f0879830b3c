"""Inputs of a file: their names, types, and the sizes that it leaves open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np

from ...compiler.errors import Diagnostic, NetcError, near_miss
from ...compiler.graph.ir import Array
from ...compiler.types import TensorType
from .library import library
from .tensors import FOREIGN, dtype_of, element_name
from .values import Tensor

_BATCH = re.compile(r"(n|b|bs|batch.*|.*batch(_?size)?)", re.IGNORECASE)
"""Names of sizes that are numbers of samples."""


def plain(name: str) -> str:
    """A name as --set takes it: letters, digits and underscores, no digit first."""
    word = re.sub(r"\W", "_", name)
    return word if word.isidentifier() else f"_{word}"


def option_names(infos: Iterable[Any]) -> dict[tuple[str, int | None], str]:
    """The name under which each open size and each input takes a value, all of them different.

    Keys are a size's name and -1, an input and the dimension of a size without a name, or an input and None. Names
    that are plain stay; of others that would be called alike, the later ones get a number.
    """
    sizes: dict[tuple[str, int | None], str] = {}
    inputs: dict[tuple[str, int | None], str] = {}
    for info in infos:
        inputs[info.name, None] = info.name
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_param" and dim.dim_param:
                sizes[dim.dim_param, -1] = dim.dim_param
            elif dim.WhichOneof("value") != "dim_value" or dim.dim_value < 0:
                sizes[info.name, axis] = f"{info.name}_{axis}"
    wanted = {**sizes, **inputs}
    found: dict[tuple[str, int | None], str] = {}
    taken: set[str] = set()
    for key, name in sorted(wanted.items(), key=lambda item: plain(item[1]) != item[1]):  # else as in the file
        word, count = plain(name), 1
        while word in taken:
            count += 1
            word = f"{plain(name)}_{count}"
        taken.add(word)
        found[key] = word
    return found


def sizes_of(model: Any, batch: int, settings: Mapping[str, Any] | None, *, to_train: bool = False) -> Sizes:
    """The sizes of a ModelProto, and what is given for them."""
    known = {tensor.name for tensor in model.graph.initializer}
    infos = [info for info in model.graph.input if info.name not in known]
    return Sizes(batch, settings or {}, infos, to_train=to_train)


@dataclass
class Sizes:
    """What is given for open sizes and inputs, by name, and what was made of it."""

    batch: int
    given: Mapping[str, Any]
    infos: Sequence[Any]
    """The inputs of the file that have no value in it."""
    to_train: bool = False
    """Whether there must be a batch."""
    bound: dict[str, int] = field(default_factory=dict[str, int])
    """Sizes by name."""
    used: set[str] = field(default_factory=set[str])
    samples: dict[str, int] = field(default_factory=dict[str, int])
    """Sizes that are numbers of samples."""
    assumed: set[str] = field(default_factory=set[str])
    """Those of them that weren't given by name."""
    open: dict[str, str] = field(default_factory=dict[str, str])
    """Sizes without a value, and where they stand."""

    def __post_init__(self) -> None:
        self.options = option_names(self.infos)
        self._leading = self._leading_name()

    def _leading_name(self) -> str | None:
        """The open size in front of an input that is the batch where one is wanted and none is called so."""
        names = [name for name, axis in self.options if axis == -1]
        if any(_BATCH.fullmatch(name) for name in names) or not (self.to_train or self.batch != 1):
            return None
        fronts = (info.type.tensor_type.shape.dim[:1] for info in self.infos)
        return next((dim[0].dim_param for dim in fronts if dim and dim[0].dim_param), None)

    def type_of(self, info: Any) -> TensorType:
        """The type of an input; sizes without a value count as 1, and are noted as open."""
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            word = (kind or "unknown type").removesuffix("_type")
            raise NetcError(f"input `{info.name}` is no tensor, but a {word}")
        tensor = info.type.tensor_type
        if not tensor.HasField("shape"):
            cure = f"fix it: --set {self.options[info.name, None]}=VALUE"
            raise NetcError(f"input `{info.name}` has no shape", hint=cure)
        dtype = dtype_of(tensor.elem_type)
        return TensorType(dtype, tuple(self._size(info.name, d, axis) for axis, d in enumerate(tensor.shape.dim)))

    def _size(self, owner: str, dim: Any, axis: int) -> int:
        which = dim.WhichOneof("value")
        if which == "dim_value" and dim.dim_value >= 0:
            return int(dim.dim_value)
        own = dim.dim_param if which == "dim_param" else ""
        name = self.options[(own, -1) if own else (owner, axis)]
        if name not in self.bound:
            size = self._bound(name, own or f"{owner}_{axis}", axis)
            if size is None:
                told = f" (`{own}`)" if own not in ("", name) else ""
                self.open.setdefault(name, f"dimension {axis} of input `{owner}`{told}")
                return 1
            self.bound[name] = size
            if self._counts_samples(own or f"{owner}_{axis}", axis):
                self.samples[name] = size
        return self.bound[name]

    def _key(self, option: str, name: str) -> str | None:
        """What is given by an option's name, or by the name in the file if no other option is called so."""
        others = self.options.values()
        return next((k for k in (option, name) if k in self.given and (k == option or k not in others)), None)

    def _bound(self, option: str, name: str, axis: int) -> int | None:
        key = self._key(option, name)
        if key is not None:
            self.used.add(key)
            return _checked(key, self.given[key])
        if self._counts_samples(name, axis):
            self.assumed.add(option)
            return self.batch
        return None

    def _counts_samples(self, name: str, axis: int) -> bool:
        is_anonymous = re.fullmatch(r".*_\d+|unk__\d+|s\d+", name) is not None
        return _BATCH.fullmatch(name) is not None or name == self._leading or (axis == 0 and is_anonymous)

    def parts(self, info: Any) -> Tensor:
        """What is given for an input that is a sequence or an optional tensor: its tensors, or nothing."""
        option = self.options[info.name, None]
        kind = info.type
        word = kind.WhichOneof("value").removesuffix("_type")
        key = self._key(option, info.name)
        if key is None:
            hint = f"give its values: --set '{option}=[...]'"
            raise NetcError(f"input `{info.name}` is no tensor, but a {word}, which must be known", hint=hint)
        self.used.add(key)
        value = self.given[key]
        if word == "optional":
            kind = kind.optional_type.elem_type
            if value is None:
                return Tensor(info.name)
        if kind.WhichOneof("value") == "tensor_type":
            return Tensor(info.name, array=_array(info.name, value, kind.tensor_type.elem_type))
        kind = kind.sequence_type.elem_type
        if kind.WhichOneof("value") != "tensor_type" or not isinstance(value, Sequence) or isinstance(value, str):
            raise NetcError(f"input `{info.name}` takes a list of tensors", hint=f"--set '{option}=[[1, 2], [3, 4]]'")
        items = tuple(Tensor("", array=_array(info.name, v, kind.tensor_type.elem_type)) for v in value)
        return Tensor(info.name, items=items)

    def fixed(self, info: Any) -> Array | None:
        """The value of an input that is given, and thus part of the graph; None where it stays an input."""
        key = self._key(self.options[info.name, None], info.name)
        if key is None:
            return None
        self.used.add(key)
        tensor = info.type.tensor_type
        array = _array(info.name, self.given[key], tensor.elem_type)
        sizes = [d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in tensor.shape.dim]
        fits = len(sizes) == array.ndim and all(s in (None, n) for s, n in zip(sizes, array.shape, strict=True))
        if tensor.HasField("shape") and not fits:
            raise NetcError(f"input `{info.name}` is {sizes}, but a value of {list(array.shape)} is given")
        return array

    def problems(self) -> Iterator[Diagnostic]:
        """One message for all sizes that are open, and one for names that aren't of this file."""
        if self.open:
            cure = " ".join(f"--set {name}=SIZE" for name in self.open)
            details = tuple(f"{name}: {where}" for name, where in self.open.items())
            yield Diagnostic("sizes of the inputs are open", hint=f"give them: {cure}", details=details)
        sizes = {option: key for key, option in self.options.items() if key[1] is not None}
        unread = {option for option in sizes if option not in self.bound}  # behind one that was refused
        unread |= {name if axis == -1 else f"{name}_{axis}" for name, axis in (sizes[option] for option in unread)}
        for name in self.given:
            if name not in self.used | unread:
                hint = near_miss(name, sizes) or ("it has " + ", ".join(sizes) if sizes else None)
                yield Diagnostic(f"there is no open size or input `{name}`", hint=hint)


def _array(name: str, value: Any, code: int) -> Array:
    """A given value as an array of ONNX's element type `code`. Raises `NetcError` where it isn't one."""
    try:
        if element_name(code) in FOREIGN:
            array = np.asarray(value, library().helper.tensor_dtype_to_np_dtype(code))
        else:
            array = np.asarray(value).astype(dtype_of(code).numpy)
        if array.dtype.kind in "iub" and not np.array_equal(array, np.asarray(value)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise NetcError(f"input `{name}` can't be {value!r}") from None
    return array


def _checked(name: str, size: object) -> int:
    if not isinstance(size, SupportsIndex) or isinstance(size, bool) or not 0 <= int(size) < 1 << 31:
        raise NetcError(f"the size {name} must be a whole number from 0 to 2147483647, not {size!r}")
    return int(size)
