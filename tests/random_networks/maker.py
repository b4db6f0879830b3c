"""Makes a network step by step, on values that are computed along the way, so that each step fits what is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

import netc.compiler.ops  # noqa: F401 (fills the registry)
from netc.compiler.errors import Location, NetcError
from netc.compiler.graph import Array, Graph, GraphBuilder, Value
from netc.compiler.graph.interpreter import evaluate_operation
from netc.compiler.graph.registry import lookup
from netc.compiler.types import DType, Quantization, TensorType

from .source import Source, choice

T = TypeVar("T")
Shape = tuple[int, ...]

FLOATS = (DType.F32, DType.F64, DType.F16)
INTEGERS = (DType.I32, DType.I64, DType.I16, DType.I8, DType.U8)
BYTES = (DType.I8, DType.U8)
ALL = (DType.F32, *INTEGERS, DType.F64, DType.F16, DType.BOOL)

MOST_ELEMENTS = 160
"""Of a leaf; what grows from it may be a few times larger."""
_RANKS = (2, 4, 3, 1, 4, 0, 5, 6)
_SIZES = (1, 2, 3, 4, 5, 1, 2, 3, 7, 8, 9, 16, 17, 33)
_LIMITS = {DType.F16: 500.0, DType.F32: 1e5, DType.F64: 1e5}


class UnfitError(Exception):
    """A step that can't be made here."""


@dataclass(frozen=True)
class Network:
    """A network with values to run it on."""

    graph: Graph
    inputs: dict[str, Array]
    params: dict[str, Array]

    def __repr__(self) -> str:
        return f"\n{self.graph}\nwith the inputs {self.inputs}\nand the parameters {self.params}"


@dataclass(frozen=True)
class Settings:
    """What is drawn."""

    dtypes: tuple[DType, ...] = ALL
    smooth: bool = False
    """No whole numbers among the floats, so that no two elements are equal by chance."""
    zeros: bool = True
    """Some sizes are 0."""
    located: bool = False
    """Operations have places in a text, and the graph has an attribute."""


@dataclass
class Maker:
    """The network so far. Recipes draw operands and attributes from it and emit operators."""

    source: Source
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.b = GraphBuilder("random", {"seed": "known"} if self.settings.located else None)
        self.rng = np.random.default_rng(self.source.number(0, 999))
        self.has_zeros = self.settings.zeros and self.source.number(0, 9) == 9
        self.values: list[Value] = []
        self.arrays: dict[Value, Array] = {}
        self.params: dict[str, Array] = {}
        self.inputs: dict[str, Array] = {}

    # ---- choices ----

    def number(self, low: int, high: int) -> int:
        """A whole number from low up to and including high."""
        return self.source.number(low, high)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options; the first one is the simplest."""
        return choice(self.source, options)

    def flag(self, one_in: int = 2) -> bool:
        """True once in `one_in` times."""
        return self.source.number(0, one_in - 1) == one_in - 1

    def dtype(self, among: Sequence[DType] = ALL) -> DType:
        """An element type; f32 half of the time."""
        kept = [d for d in among if d in self.settings.dtypes]
        if not kept:
            raise UnfitError
        return kept[0] if not self.flag() else self.choice(kept)

    def size(self) -> int:
        """The size of a dimension."""
        return 0 if self.has_zeros and self.flag(4) else self.choice(_SIZES)

    def shape(self, ranks: Sequence[int] = _RANKS, start: Shape = (), end: Shape = ()) -> Shape:
        """A shape of one of these ranks; what is before and after drawn sizes may be given."""
        rank = max(self.choice(ranks) - len(start) - len(end), 0)
        sizes: list[int] = []
        room = MOST_ELEMENTS // max(math.prod((*start, *end)), 1)
        for _ in range(rank):
            size = self.size()
            sizes.append(size if size <= room else 1)
            room //= max(sizes[-1], 1)
        return (*start, *sizes, *end)

    def image(self, spatial: int = 2) -> Shape:
        """[N, spatial..., C]: maps of one column and of one row among them."""
        sizes = [self.choice((4, 5, 1, 3, 2, 6, 7, 8)) for _ in range(spatial)]
        if spatial == 3:
            sizes = [min(s, 4) for s in sizes]
        channels = self.choice((1, 3, 2, 4, 5, 8, 16, 17))
        shape = (self.choice((1, 2, 1, 3)), *sizes, channels)
        while math.prod(shape) > 2 * MOST_ELEMENTS:
            shape = (1, *(max(s // 2, 1) for s in shape[1:-1]), max(shape[-1] // 2, 1))
        return shape

    # ---- values ----

    def array(self, dtype: DType, shape: Shape, values: str = "any") -> Array:
        """Random elements; values: any, positive, or whole numbers below a limit, as text."""
        rng = self.rng
        if values.isdigit():
            result = rng.integers(0, max(int(values), 1), shape)
        elif dtype is DType.BOOL:
            result = rng.random(shape) < 0.5
        elif dtype.is_float:
            whole = not self.settings.smooth and self.flag()
            result = rng.integers(-4, 5, shape) if whole else rng.uniform(-2, 2, shape)
            result = np.abs(result) + 0.5 if values == "positive" else result
        elif values == "positive":
            result = rng.integers(1, 9, shape)
        else:
            info = np.iinfo(str(dtype.numpy))
            few = (max(-8, info.min), 9) if not self.flag(3) else (info.min, info.max + 1)
            result = rng.integers(*few, shape, dtype=np.int64 if few[1] < 1 << 63 else dtype.numpy)
        return np.asarray(result).astype(dtype.numpy)

    def leaf(
        self,
        dtype: DType,
        shape: Shape,
        values: str = "any",
        quantization: Quantization | None = None,
        kinds: Sequence[str] = ("input", "param", "constant"),
    ) -> Value:
        """A new input, parameter or constant."""
        kind = self.choice(kinds)
        array = self.array(dtype, shape, values)
        name = f"{kind[0]}{len(self.arrays)}"
        if kind == "input":
            value = self.b.input(name, TensorType(dtype, shape, None, quantization))
            self.inputs[name] = array
        elif kind == "param":
            given = {"trainable": self.flag(), "init": self.choice(("zeros", "ones", "he_normal"))}
            order = "oi" if len(shape) == 2 else "oihw" if len(shape) == 4 else None
            given["checkpoint"] = order if self.flag() else None
            value = self.b.emit("param", shape=shape, dtype=str(dtype), name=name, quantization=quantization, **given)
            self.params[name] = array
        else:
            value = self.b.constant(array, quantization=quantization)
        self.arrays[value] = array
        self.values.append(value)
        return value

    def weight(
        self, dtype: DType, shape: Shape, values: str = "any", quantization: Quantization | None = None
    ) -> Value:
        """A new value that is a parameter more often than not."""
        return self.leaf(dtype, shape, values, quantization, ("param", "param", "constant", "input"))

    def given(self, array: Array) -> Value:
        """A constant that is not offered as an operand of later steps."""
        value = self.b.constant(np.asarray(array))
        self.arrays[value] = np.asarray(array)
        return value

    def scalar(self, number: float, dtype: DType) -> Value:
        """A constant of rank 0."""
        return self.given(np.array(number, dtype.numpy))

    def operand(
        self,
        dtypes: Sequence[DType] = ALL,
        fits: Callable[[TensorType], bool] | None = None,
        shape: Callable[[], Shape] | Shape | None = None,
        values: str = "any",
        test: Callable[[Array], bool] | None = None,
        new: int = 5,
    ) -> Value:
        """A value that is there and fits, late ones preferred, or a new one (once in `new` times even so)."""
        known = self.known(dtypes, fits, shape, test)
        if known and not self.flag(new):
            place = self.number(0, min(len(known), 4) - 1) if self.flag() else 0
            return known[place]
        made = shape() if callable(shape) else self.shape() if shape is None else shape
        value = self.leaf(self.dtype(dtypes), made, values)
        if not self._fits(value, dtypes, fits, None, test):
            raise UnfitError
        return value

    def known(self, dtypes: Sequence[DType], fits: Any, shape: Any, test: Any) -> list[Value]:
        """The values that are there and fit, late ones first."""
        return [v for v in reversed(self.values) if self._fits(v, dtypes, fits, shape, test)]

    def _fits(self, value: Value, dtypes: Sequence[DType], fits: Any, shape: Any, test: Any) -> bool:
        return (
            value.type.dtype in dtypes
            and value.type.dtype in self.settings.dtypes
            and (not isinstance(shape, tuple) or value.type.shape == shape)
            and (fits is None or fits(value.type))
            and (test is None or bool(test(self.arrays[value])))
        )

    # ---- operations ----

    def emit(self, operator: str, *operands: Value, **attributes: Any) -> Value:
        """The first result of an operation; `UnfitError` where it is refused, or one is too large to be told apart."""
        if math.prod(v.type.size for v in operands[:1]) > 10 * MOST_ELEMENTS:
            raise UnfitError
        before = len(self.b.operations)
        try:
            op = self.b.operation(lookup(operator), operands, attributes, location=self.location())
            if any(result.type.size > 8 * MOST_ELEMENTS for result in op.results):
                raise UnfitError
            arrays = evaluate_operation(op, tuple(self.arrays[v] for v in operands))
            if not all(_is_tame(r.type.dtype, array) for r, array in zip(op.results, arrays, strict=True)):
                raise UnfitError
        except NetcError as error:
            del self.b.operations[before:]
            raise UnfitError from error
        except UnfitError:
            del self.b.operations[before:]
            raise
        self.arrays.update(zip(op.results, map(np.asarray, arrays), strict=True))
        self.values += reversed(op.results)
        return op.results[0]

    def location(self) -> Location | None:
        """A place for the next operation, if they have any."""
        line = len(self.b.operations) + 1
        return Location("random.net", line, 1 + 7 * line % 80) if self.settings.located else None

    def finish(self) -> Network:
        """The network with its outputs: the last value, and others of all kinds."""
        outputs = [self.values[-1]]
        for _ in range(self.choice((0, 0, 1, 2))):
            outputs.append(self.values[-1 - self.number(0, min(len(self.values), 8) - 1)])
        return Network(self.b.finish(outputs), self.inputs, self.params)


def _is_tame(dtype: DType, array: Array) -> bool:
    """True if floats are finite and of a size at which errors are small."""
    return not dtype.is_float or float(np.abs(array.astype(np.float64)).max(initial=0)) <= _LIMITS[dtype]
