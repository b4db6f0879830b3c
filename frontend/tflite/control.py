"""TFLite's operators that run other subgraphs: IF, WHILE, STABLEHLO_COMPOSITE.

A branch or a body becomes a graph of its own, which the operation holds. It sees nothing but its inputs; so variables
that it reads or assigns become values that go in and come out beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Array, Graph, Value
from ...compiler.graph.registry import lookup
from ...compiler.ops.facets import reads
from ...compiler.types import TensorType
from .context import Context, UnsupportedError
from .variables import Key, Variables
from .walk import Walk


class Outside(Variables):
    """The variables of a graph inside an operation: what they hold comes in, and what they get goes out."""

    def __init__(self, builder: GraphBuilder, outer: Variables) -> None:
        super().__init__(builder)
        self._outer = outer
        self._inputs: dict[Key, Value] = {}
        self.names: dict[Key, str] = {}
        """The variables that are read or assigned."""

    def begin(self, key: Key, name: str, type_: TensorType | None, initial: Array | None) -> Value:
        """An input, of the type of what the variable holds outside."""
        return self._input(key, name, self._outer.read(key, name, type_, initial))

    def assign(self, key: Key, name: str, value: Value) -> None:
        """Let a variable hold another value from here on."""
        self._input(key, name, self._outer.read(key, name))
        super().assign(key, name, value)

    def _input(self, key: Key, name: str, outside: Value) -> Value:
        if key not in self._inputs:
            self._inputs[key] = self.builder.input(f"variable{len(self._inputs)}", outside.type.dense())
            self.names[key] = name
        return self._inputs[key]

    def ends(self, names: Mapping[Key, str]) -> tuple[list[Value], list[Value]]:
        """For variables that this graph or another one touches the inputs, and what they hold at the end."""
        holds = [self.read(key, name) for key, name in names.items()]
        return [self._inputs[key] for key in names], holds


@dataclass(frozen=True)
class _Given:
    """What goes into a subgraph: a value, what it always holds, or the variable that it refers to."""

    value: Value | None = None
    array: Array | None = None
    handle: Key = None


def _given(c: Context, places: Sequence[int]) -> list[_Given]:
    """What an operator hands on."""
    found = []
    for place in places:
        handle = c.walk.handles.get(c.operator.inputs[place])
        array = c.known(place) if handle is None else None
        found.append(_Given(c.value(place) if handle is None and array is None else None, array, handle))
    return found


def _bound(c: Context, walk: Walk, given: Sequence[_Given], standing: Sequence[Value | None]) -> None:
    """Say what the inputs of a subgraph are; `standing` values stand for those given inside it."""
    indices = walk.model.inputs
    if len(indices) != len(given):
        c.fail(f"subgraph {walk.model.main} takes {len(indices)} inputs, not {len(given)}")
    for index, each, value in zip(indices, given, standing, strict=True):
        if each.handle is not None:
            walk.handles[index] = each.handle
        elif each.array is not None:
            walk.arrays[index] = each.array
            walk.settle(index, each.array.shape)
        elif value is not None:
            walk.settle(index, value.type.shape)
            declared = walk.model.tensors[index].type
            walk.values[index] = value if declared is None else _as(walk.builder, value, declared)


def _as(b: GraphBuilder, value: Value, type_: TensorType) -> Value:
    """A value as what a subgraph declares: it hands on elements, whatever they stand for."""
    if (value.type.dtype, value.type.shape) != (type_.dtype, type_.shape):
        raise UnsupportedError(f"{type_} is declared in its subgraph where there is {value.type}")
    stated = type_.quantization
    if stated == value.type.quantization or (stated is not None and not stated.is_per_tensor):
        return value
    if stated is None:
        raise UnsupportedError(f"{type_} is declared in its subgraph where there is {value.type}")
    return b.emit("reinterpret", value, y=stated)


class _Region:
    """A subgraph that becomes a graph of its own."""

    def __init__(self, c: Context, subgraph: int, given: Sequence[_Given]) -> None:
        self.builder = GraphBuilder(f"{c.operator.name.lower()}{c.operator.number}_{subgraph}")
        self.variables = Outside(self.builder, c.walk.variables)
        self.walk = c.walk.inner(c, subgraph, self.builder, self.variables)
        self.inputs = [
            None if each.value is None else self.builder.input(f"input{number}", each.value.type.dense())
            for number, each in enumerate(given)
        ]
        _bound(c, self.walk, given, self.inputs)
        self.walk.run()
        _refuse_opaque(self.builder, 0)
        self.outputs = self.walk.model.outputs

    def output(self, number: int, type_: TensorType | None = None, place: str = "") -> Value:
        """An output, as a value of that type, which is that of a `place`."""
        if number >= len(self.outputs):
            raise UnsupportedError(f"subgraph {self.walk.model.main} returns {len(self.outputs)} values")
        value = self.walk.output(self.outputs[number])
        if type_ is not None and (value.type.dtype, value.type.shape) != (type_.dtype, type_.shape):
            given = f"subgraph {self.walk.model.main} gives {value.type.dense()} as output {number}"
            raise UnsupportedError(f"{given}, but {place} {type_.dense()}; netc's programs have fixed shapes")
        return value if type_ is None else _as(self.builder, value, type_)

    def finish(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
        """The graph, with its inputs in this order."""
        self.builder.inputs = list(inputs)
        return self.builder.finish(outputs)


def _refuse_opaque(builder: GraphBuilder, start: int) -> None:
    """Raise `UnsupportedError` for an operator inside that netc can't run."""
    for op in builder.operations[start:]:
        if op.name == "opaque":
            reason = op.attributes["reason"]
            raise UnsupportedError(f"its subgraph has {op.attributes['operator']}" + (f": {reason}" if reason else ""))


def _values(given: Sequence[_Given | Value | None]) -> list[Value]:
    """Those that are values."""
    values = (each.value if isinstance(each, _Given) else each for each in given)
    return [value for value in values if value is not None]


def _inlined(c: Context, subgraph: int, given: Sequence[_Given]) -> tuple[Value, ...]:
    """A subgraph in the place of the operator."""
    walk = c.walk.inner(c, subgraph, c.builder, c.walk.variables)
    _bound(c, walk, given, [each.value for each in given])
    start = len(c.builder.operations)
    walk.run()
    _refuse_opaque(c.builder, start)
    return tuple(walk.output(index) for index in walk.model.outputs)


# ---- conditions -----------------------------------------------------------------------------------------------------


def if_(c: Context) -> tuple[Value, ...]:
    """IF: the branch that a constant condition chooses, else both of them, of which the program runs one."""
    branches = [int(c.option(f"{name}_subgraph_index", 0)) for name in ("then", "else")]
    given = _given(c, range(1, c.count))
    known = c.known(0)
    if known is not None and known.size == 1:
        return _inlined(c, branches[0 if known.item() else 1], given)
    regions = [_Region(c, branch, given) for branch in branches]
    names = {key: name for region in regions for key, name in region.variables.names.items()}
    ends = [region.variables.ends(names) for region in regions]
    count = len(c.operator.outputs)
    if any(len(region.outputs) != count for region in regions):
        c.fail(f"its subgraphs should return {count} values")
    results = [regions[0].output(n) for n in range(count)]
    others = [regions[1].output(n, results[n].type, "the other branch gives") for n in range(count)]
    graphs = [
        region.finish([*_values(region.inputs), *inputs], [*out, *holds])
        for region, (inputs, holds), out in zip(regions, ends, (results, others), strict=True)
    ]
    outside = [c.walk.variables.read(key, name) for key, name in names.items()]
    operands = [c.value(0), *_values(given), *outside]
    op = c.builder.operation(lookup("if"), operands, {"then": graphs[0], "else": graphs[1]})
    for (key, name), value in zip(names.items(), op.results[count:], strict=True):
        if any(key in region.variables.changed() for region in regions):
            c.walk.variables.assign(key, name, value)
    return op.results[:count]


# ---- loops ----------------------------------------------------------------------------------------------------------


def while_(c: Context) -> tuple[Value | None, ...]:
    """WHILE: a loop of the program. What the body hands on as it is goes in once, and may be constant."""
    condition, body = (int(c.option(f"{name}_subgraph_index", 0)) for name in ("cond", "body"))
    given = _given(c, range(c.count))
    model = c.walk.inner(c, body, GraphBuilder("body"), c.walk.variables).model
    if not len(model.inputs) == len(model.outputs) == c.count == len(c.operator.outputs):
        c.fail(f"its body, subgraph {body}, should take and return {c.count} values")
    moves = [place for place in range(c.count) if model.inputs[place] != model.outputs[place]]
    for place in moves:
        if given[place].handle is not None:
            c.unsupported("its body returns another variable than it takes")
        given[place] = _Given(c.value(place))
    regions = [_Region(c, number, given) for number in (condition, body)]
    names = {key: name for region in regions for key, name in region.variables.names.items()}
    ends = [region.variables.ends(names) for region in regions]
    if regions[0].variables.changed():
        c.unsupported("its condition assigns variables")
    changed = [n for n, key in enumerate(names) if key in regions[1].variables.changed()]
    if not moves and not changed:
        c.unsupported("its body changes nothing")
    outside = [c.walk.variables.read(key, name) for key, name in names.items()]

    def order(values: Sequence[_Given | Value | None], variables: Sequence[Value]) -> list[Value]:
        """What changes from iteration to iteration, then the rest."""
        rest = [value for place, value in enumerate(values) if place not in moves]
        kept = [value for n, value in enumerate(variables) if n not in changed]
        return [*_values([values[p] for p in moves]), *(variables[n] for n in changed), *_values(rest), *kept]

    new = [regions[1].output(p, _only(given[p].value).type, "the iteration begins with") for p in moves] + [
        ends[1][1][n] for n in changed
    ]
    graphs = {
        "condition": regions[0].finish(order(regions[0].inputs, ends[0][0]), [regions[0].output(0)]),
        "body": regions[1].finish(order(regions[1].inputs, ends[1][0]), new),
    }
    op = c.builder.operation(lookup("while"), order(given, outside), graphs)
    keys = list(names.items())
    for n, value in zip(changed, op.results[len(moves) :], strict=True):
        c.walk.variables.assign(*keys[n], value)
    results = dict(zip(moves, op.results, strict=False))
    return tuple(results.get(p) or _handed_on(c, p) for p in range(c.count))


def _only(value: Value | None) -> Value:
    assert value is not None, "what changes is a value"
    return value


def _handed_on(c: Context, place: int) -> Value | None:
    """What goes through a loop as it is; None for a reference to a variable."""
    handle = c.walk.handles.get(c.operator.inputs[place])
    if handle is None:
        return c.value(place)
    c.walk.handles[c.operator.outputs[place]] = handle
    return None


# ---- others ---------------------------------------------------------------------------------------------------------


def composite(c: Context) -> tuple[Value, ...]:
    """STABLEHLO_COMPOSITE: what it is made of."""
    return _inlined(c, int(c.option("decomposition_subgraph_index", 0)), _given(c, range(c.count)))


reads(if_, "IF")
reads(while_, "WHILE")
reads(composite, "STABLEHLO_COMPOSITE")
