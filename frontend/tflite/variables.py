"""What a file keeps from run to run: variable tensors, and resource variables.

Both become state of the graph (`compiler.graph.state`). While a file is read, `Variables` tells what each of them holds
at the present place of the walk: reading gives that value, assigning replaces it, so that the order of operators counts
as it does in LiteRT. What a variable holds at the end of the graph is what the next run begins with.

An operator with a variable tensor among its inputs, such as LSTM, asks `Context.variable` for what the tensor holds and
says by `Context.assign` what it holds from there on. The reader does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.interpreter import evaluate
from ...compiler.graph.ir import Array, Value
from ...compiler.graph.names import UniqueNames
from ...compiler.graph.registry import lookup
from ...compiler.ops.facets import reads
from ...compiler.ops.seeded_random import Seeded
from ...compiler.tflite.reading import Operator
from ...compiler.types import DType, TensorType
from .context import Context, Converter, UnsupportedError

Key = Hashable
"""What tells variables apart: container and name of a resource variable, subgraph and number of a tensor."""


@dataclass(frozen=True)
class _Variable:
    holds: Value
    begins: Value | None
    """The state that it has been read from; None if it was assigned first."""


class Variables:
    """The variables of a graph under construction, with what each of them holds so far."""

    def __init__(self, builder: GraphBuilder, taken: Collection[str] = ()) -> None:
        self.builder = builder
        self.initial: dict[Key, Array] = {}
        """What CALL_ONCE gives variables."""
        self._variables: dict[Key, _Variable] = {}
        self._names = UniqueNames(taken)

    def read(self, key: Key, name: str, type_: TensorType | None = None, initial: Array | None = None) -> Value:
        """What a variable holds; at first what CALL_ONCE gave it, else `initial`.

        Raises `UnsupportedError` if it holds nothing yet.
        """
        if key not in self._variables:
            value = self.begin(key, name, type_, initial)
            self._variables[key] = _Variable(value, value)
        return self._variables[key].holds

    def read_tensor(self, key: Key, name: str, type_: TensorType) -> Value:
        """What a variable tensor holds; it begins with zeros, of 8-bit integers with the zero point, as in LiteRT."""
        quantization = type_.quantization
        point = quantization.zero_point if quantization is not None and type_.dtype is DType.I8 else 0
        return self.read(key, name, type_, np.full(type_.shape, point, type_.dtype.numpy))

    def begin(self, key: Key, name: str, type_: TensorType | None, initial: Array | None) -> Value:
        """A new state."""
        initial = self.initial.get(key, initial)
        if initial is None:
            raise UnsupportedError(f"variable `{name}` is read before anything is assigned to it")
        quantization = type_.quantization if type_ is not None else None
        return self.builder.state(self._free_name(name), initial, quantization=quantization)

    def _free_name(self, name: str) -> str:
        """A name for a state, which no tensor has."""
        return self._names.take(name if name and not name.isdigit() else f"variable{name}")

    def assign(self, key: Key, name: str, value: Value) -> None:
        """Let a variable hold another value from here on."""
        known = self._variables.get(key, _Variable(value, None))
        if known.holds.type.dense() != value.type.dense():
            raise UnsupportedError(f"variable `{name}` holds {known.holds.type}, and {value.type} is assigned to it")
        self._variables[key] = _Variable(value, known.begins)

    def rename(self, new: Mapping[Value, Value]) -> None:
        """Let values that have been made anew under their names stand for the old ones."""
        for key, v in self._variables.items():
            if v.holds in new:
                self._variables[key] = _Variable(new[v.holds], v.begins)

    def copy(self) -> Mapping[Key, object]:
        """All that variables hold at this place, for `go_back`."""
        return dict(self._variables)

    def go_back(self, before: Mapping[Key, Any]) -> None:
        """Forget all reads and assignments since."""
        self._variables = dict(before)

    def is_known(self, key: Key) -> bool:
        """True if a variable was read or assigned."""
        return key in self._variables

    def changed(self) -> Mapping[Key, Value]:
        """What was assigned, by variable."""
        return {key: v.holds for key, v in self._variables.items() if v.holds is not v.begins}

    def finish(self) -> tuple[tuple[str, ...], tuple[Value, ...]]:
        """The names of the states that change, and their values for the next run.

        What every run assigns before it reads it is no state; what is never assigned is a constant.
        """
        self._freeze({v.begins for v in self._variables.values() if v.begins is v.holds})
        states = [(v.begins, v.holds) for v in self._variables.values() if v.begins not in (None, v.holds)]
        return tuple(begins.name or "" for begins, _ in states if begins), tuple(holds for _, holds in states)

    def _freeze(self, values: Collection[Value | None]) -> None:
        """Let variables that always hold what they begin with be constants."""
        operations = self.builder.operations
        for place, op in enumerate(operations):
            if op.name == "param" and op.result in values:
                attributes = {key: op.attributes[key] for key in ("value", "quantization")}
                operations[place] = replace(op, operator=lookup("constant"), attributes=MappingProxyType(attributes))


def handle_of(c: Context, place: int) -> tuple[Key, str]:
    """The variable that an input refers to, and its name."""
    key = c.walk.handles.get(c.operator.inputs[place]) if c.has(place) else None
    if key is None:
        c.unsupported(f"input {place} is no variable that the graph knows while it is read")
    return key, str(key[1]) if isinstance(key, tuple) else str(key)


def var_handle(c: Context) -> tuple[Value, ...]:
    """VAR_HANDLE: handles with one name refer to one variable, in all subgraphs."""
    if not c.operator.outputs:
        c.fail("it has no output")
    key = (c.option("container") or "", c.option("shared_name") or "")
    c.walk.handles[c.operator.outputs[0]] = key
    return ()


def read_variable(c: Context) -> Value:
    """READ_VARIABLE: what was assigned last."""
    key, name = handle_of(c, 0)
    return c.walk.variables.read(key, name, c.output_type())


def assign_variable(c: Context) -> tuple[Value, ...]:
    """ASSIGN_VARIABLE: what is read from here on."""
    key, name = handle_of(c, 0)
    c.walk.variables.assign(key, name, c.value(1))
    return ()


def call_once(c: Context) -> tuple[Value, ...]:
    """CALL_ONCE: its subgraph gives variables the values that the first run begins with.

    That is computed while the file is read. Variables that were touched before have another history: refused.
    """
    variables = c.walk.variables
    if c.walk.depth:
        c.unsupported("it stands in a subgraph that others call")
    builder = GraphBuilder("initialization")
    walk = c.walk.inner(c, int(c.option("init_subgraph_index", 0)), builder, Variables(builder))
    if walk.model.inputs:
        c.unsupported("its subgraph has inputs")
    walk.run()
    given = walk.variables.changed()
    if any(map(variables.is_known, given)):
        c.unsupported("variables are used before they are initialized")
    try:
        arrays = evaluate(builder.finish(given.values()))
    except NetcError as error:
        c.unsupported(f"its subgraph can't be computed: {error.diagnostics[0].message}")
    for key, array in zip(given, arrays, strict=True):
        variables.initial.setdefault(key, array)  # the same subgraph is called once, whoever calls it
    return ()


def _counter(c: Context, emit: Callable[[Value], Value]) -> Value:
    """The result of an operator on the counter of its own generator, which goes on."""
    key, name = (c.model.main, "random", c.operator.number), f"{c.operator.name.lower()}{c.operator.number}.counter"
    counter = c.walk.variables.read(key, name, TensorType(DType.I64, ()), np.zeros((), np.int64))
    made = emit(counter)
    op = c.builder.operations[-1]
    assert isinstance(op.operator, Seeded)
    step = c.builder.scalar(op.operator.blocks(tuple(v.type for v in op.operands), op.attributes), DType.I64)
    c.walk.variables.assign(key, name, c.emit("add", counter, step))
    return made


def _seeds(c: Context) -> dict[str, int]:
    """The seeds of an operator on random numbers, of which LiteRT keeps 32 bits, with their sign."""
    seeds = {key: (int(c.option(key, 0)) + (1 << 31)) % (1 << 32) - (1 << 31) for key in ("seed", "seed2")}
    if not any(seeds.values()):
        c.unsupported(_UNSEEDED)
    return seeds


def _numbers(normal: bool) -> Converter:
    def convert(c: Context) -> Value:
        """RANDOM_UNIFORM and RANDOM_STANDARD_NORMAL."""
        seeds, shape = _seeds(c), c.integers(0)
        return _counter(c, lambda counter: c.emit("seeded_numbers", counter, shape=shape, normal=normal, **seeds))

    return convert


def multinomial(c: Context) -> Value:
    """MULTINOMIAL."""
    seeds, (count,), logits = _seeds(c), c.integers(1), c.value(0)
    dtype = str(c.output_type().dtype)
    return _counter(c, lambda counter: c.emit("seeded_choices", counter, logits, count=count, dtype=dtype, **seeds))


RANDOM = frozenset({"MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"})
"""Operators that give other results each time."""
_UNSEEDED = "its random numbers are other ones in each run of LiteRT; netc's programs give the same numbers each time"
_OPEN = "how many results it has is not known before the model runs"
REFUSED = {
    **dict.fromkeys(
        ("HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE"), "netc has no tables from keys to values"
    ),
    "STABLEHLO_RNG_BIT_GENERATOR": "netc has no unsigned integers of 64 bits, which its state is made of",
    **dict.fromkeys(("UNIQUE", "WHERE"), _OPEN),
    "SKIP_GRAM": "netc has no strings",
    "LSH_PROJECTION": "netc has no hashes of bytes",
}
"""Operators that are refused by name, and why."""
FLEX = "Flex"
"""Names of operators of TensorFlow itself begin so."""


def refusal(operator: Operator) -> str:
    """Why an operator without a converter is refused; nothing if there is nothing to say but that."""
    if operator.is_custom and operator.name.startswith(FLEX):
        own = operator.name.removeprefix(FLEX)
        return f"it is TensorFlow's own operator {own}, which only TensorFlow (LiteRT's Flex delegate) runs"
    return "" if operator.is_custom else REFUSED.get(operator.name, "")


STATEMENTS = frozenset(
    {"VAR_HANDLE", "ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "IF", "WHILE", "STABLEHLO_COMPOSITE"}
)
"""Operators on variables, which are no values of the graph, and those that run other subgraphs."""

reads(var_handle, "VAR_HANDLE")
reads(read_variable, "READ_VARIABLE")
reads(assign_variable, "ASSIGN_VARIABLE")
reads(call_once, "CALL_ONCE")
reads(multinomial, "MULTINOMIAL")
reads(_numbers(normal=False), "RANDOM_UNIFORM")
reads(_numbers(normal=True), "RANDOM_STANDARD_NORMAL")
