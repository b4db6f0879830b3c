"""The walk over the nodes of a file: what each name stands for, which rule reads a node, what is computed at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...compiler.errors import Diagnostic, NetcError, ShapeError, near_miss
from ...compiler.graph.analysis import macs_of
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.interpreter import evaluate
from ...compiler.graph.ir import Array, Value
from .attributes import decoded
from .checks import check_attributes, check_counts, check_types
from .functions import body_of, defaults_of, resolved
from .library import NEWEST, OLDEST, schema_of
from .node import Node
from .order import in_order
from .registry import EXPERIMENTAL, Rule, known_operators, rule_of
from .scope import Scope
from .tensors import array_of
from .values import Constants, ReportedError, Tensor, UnknownInputError, UnsupportedError
from .wire import Place

MAX_NODES = 1 << 17
"""Most nodes that are converted, those of functions and of each turn of a loop counted apart."""
MAX_DEPTH = 32
"""How deep functions and graphs in nodes may lie in each other."""
LARGEST = 1 << 20
"""Most elements of a tensor (and multiplications) that are computed at once; what is larger stays in the graph."""
MAX_WORK = 1 << 27
"""Most elements that are computed at once in all."""


@dataclass(eq=False)
class Converter:
    """The state of the walk."""

    builder: GraphBuilder
    folder: Path | None
    functions: Mapping[tuple[str, str, str], Any]
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])
    constants: Constants = field(default_factory=Constants)
    needed: set[str] = field(default_factory=set[str])
    """Inputs of the graph on which something depends that must be known."""
    nodes: int = 0
    work: int = 0
    to_train: bool = False
    """Whether forms for training become operators that know what training is."""
    producer: str = ""
    """What wrote the file, by its own word."""

    def report(self, message: str, hint: str | None = None) -> None:
        """Note a problem of the file."""
        self.problems.append(Diagnostic(message, hint=hint))

    def constant(self, tensor: Tensor) -> Value:
        """Known numbers as a value of the graph."""
        key = (tensor, None)
        if key not in self.constants.values:
            assert tensor.array is not None
            self.constants.values[key] = self.builder.constant(tensor.array)
        return self.constants.values[key]

    # ---- graphs ----

    def convert(self, graph: Any, scope: Scope, places: Mapping[int, Place] | None = None) -> list[Tensor | None]:
        """Convert the nodes of a graph, whose inputs stand in the scope, and return its outputs.

        `places` are those of the initializers whose bytes were left in the file, by number.
        """
        for number, tensor in enumerate(graph.initializer):
            scope.names[tensor.name] = self._initializer(tensor, (places or {}).get(number))
        for tensor in graph.sparse_initializer:
            self.report(f"the sparse tensor `{tensor.values.name}` is not supported")
            scope.names[tensor.values.name] = None
        return self.nodes_of(graph.node, [info.name for info in graph.output], scope)

    def nodes_of(self, nodes: Sequence[Any], outputs: Sequence[str], scope: Scope) -> list[Tensor | None]:
        """Convert nodes, and return what these names stand for behind them; None for an empty name."""
        for number, proto in in_order(nodes):
            self._node(number, proto, scope)
        found: list[Tensor | None] = []
        for name in outputs:
            try:
                found.append(scope.find(name) if name else None)
            except KeyError:
                self.report(f"nothing gives the output `{name}` a value{scope.place}")
                found.append(None)
        return found

    def _initializer(self, tensor: Any, place: Place | None) -> Tensor | None:
        try:
            return Tensor(tensor.name, array=array_of(tensor, self.folder, place))
        except NetcError as error:
            self.problems.extend(error.diagnostics)
            return None

    def _node(self, number: int, proto: Any, scope: Scope) -> None:
        """Convert a node; where that fails its outputs are unknown, and the problem is reported once."""
        results: Sequence[Tensor | None] = [None] * len(proto.output)
        inputs: list[Tensor | None] | None = None
        try:
            inputs = self._inputs(proto, scope)
            results = self.results(proto, inputs, scope)
        except UnsupportedError as error:
            self._refuse(number, proto, scope, inputs, error)
        except NetcError as error:
            self._refuse(number, proto, scope, inputs, error)
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
            # Shape rules and NumPy stumble over numbers that no real operator has.
            self._refuse(number, proto, scope, inputs, NetcError(f"its inputs and attributes don't fit: {error}"))
        for name, result in zip(proto.output, results, strict=False):
            if not name:
                continue
            if name in scope.names:
                self.report(f"{_title(number, proto, scope)}: the output `{name}` has a value already")
            if result is not None and not result.name:
                result.name = name
            scope.names[name] = result

    def _refuse(
        self, number: int, proto: Any, scope: Scope, inputs: Sequence[Tensor | None] | None, error: NetcError
    ) -> None:
        if isinstance(error, ReportedError):
            return
        title = _title(number, proto, scope)
        types = ", ".join(_type_of(t) for t in inputs or ())
        for found in error.diagnostics:
            details = (f"inputs: {types}",) if types and not found.details else found.details
            self.problems.append(Diagnostic(f"{title}: {found.message}", hint=found.hint, details=details))

    def _inputs(self, proto: Any, scope: Scope) -> list[Tensor | None]:
        inputs: list[Tensor | None] = []
        is_broken = False
        for name in proto.input:
            try:
                tensor = scope.find(name) if name else None
            except KeyError:
                raise UnsupportedError(f"the input `{name}` is used before anything gives it a value") from None
            is_broken |= bool(name) and tensor is None
            inputs.append(tensor)
        while inputs and inputs[-1] is None and not proto.input[len(inputs) - 1]:
            inputs.pop()
        if is_broken:
            self._check(proto, scope)
            raise ReportedError("")
        return inputs

    # ---- nodes ----

    def results(self, proto: Any, inputs: list[Tensor | None], scope: Scope) -> list[Tensor | None]:
        """What the outputs of a node stand for."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UnsupportedError(f"more than {MAX_NODES} nodes, those of functions and loops included")
        schema, rule, attributes = self._check(proto, scope)
        if schema is not None:
            check_types(schema, inputs)
        if rule is None:
            return self._call(proto, inputs, scope, attributes)
        node = Node(
            self.builder,
            self.constants,
            proto,
            scope.opsets.get(proto.domain, 1),
            schema.since_version if schema is not None else 1,
            inputs,
            self,
            scope,
            decoded(attributes),
        )
        sources = frozenset[str]().union(*(t.sources for t in inputs if t is not None))
        known = self._folded(node, rule) if all(t is None or t.array is not None for t in inputs) else None
        found = known if known is not None else _ruled(node, rule)
        return [_tensor(result, sources) for result in found]

    def _check(self, proto: Any, scope: Scope) -> tuple[Any | None, Rule | None, list[Any]]:
        """The definition of a node's operator, its rule, and its attributes, which fit it."""
        domain = _domain(proto)
        attributes = resolved(proto, scope.bound)
        if (domain, proto.op_type, getattr(proto, "overload", "")) in self.functions:
            return None, None, attributes
        if domain not in scope.opsets and domain:
            hint = "the file should import its operator set"
            raise UnsupportedError(f"the domain `{domain}` of {proto.op_type} is not imported", hint=hint)
        opset = scope.opsets.get(domain, 1)
        schema = schema_of(proto.op_type, opset, domain)
        if schema is None and (rule := rule_of(domain or EXPERIMENTAL, proto.op_type, opset)) is not None:
            return None, rule, attributes
        if schema is None:
            where = f"the domain `{domain}`" if domain else f"operator set {opset}"
            raise UnsupportedError(f"there is no operator {proto.op_type} in {where}", hint=self._alike(proto))
        version = schema.since_version
        if schema.deprecated:
            raise UnsupportedError(f"operator set {opset} no longer has {proto.op_type}")
        if not domain and version > NEWEST:
            raise UnsupportedError(f"{proto.op_type}-{version} is newer than the rules of netc ({NEWEST})")
        if not domain and opset < OLDEST and not _stays(schema):
            hint = "export it again with a newer operator set"
            raise UnsupportedError(f"{proto.op_type}-{version} is older than the rules of netc ({OLDEST})", hint=hint)
        check_counts(schema, proto)
        check_attributes(schema, attributes)
        rule = rule_of(domain, proto.op_type, version)
        if rule is None and not (schema.has_function or schema.has_context_dependent_function):
            raise UnsupportedError(f"the operator {proto.op_type}-{version} is not supported")
        return schema, rule, attributes

    def _alike(self, proto: Any) -> str | None:
        return near_miss(proto.op_type, known_operators(_domain(proto)))

    def _call(
        self, proto: Any, inputs: list[Tensor | None], scope: Scope, attributes: list[Any]
    ) -> list[Tensor | None]:
        """The results of a node whose operator is a function."""
        domain = _domain(proto)
        own = self.functions.get((domain, proto.op_type, getattr(proto, "overload", "")))
        if scope.depth >= MAX_DEPTH:
            raise UnsupportedError(f"functions and graphs lie in each other more than {MAX_DEPTH} deep")
        opset = scope.opsets.get(domain, 1)
        body = own if own is not None else body_of(proto, opset, domain, inputs, attributes)
        defaults = {a.name: a for a in body.attribute_proto} if own is not None else defaults_of(proto, opset, domain)
        bound = {**defaults, **{a.name: a for a in attributes}}
        opsets = {"" if e.domain == "ai.onnx" else e.domain: int(e.version) for e in body.opset_import}
        place = f"{scope.place}, in {proto.op_type}" + (f" `{proto.name}`" if proto.name else "")
        inner = Scope({**scope.opsets, **opsets}, None, {}, bound, place, scope.depth + 1)
        names: dict[str, Tensor | None] = {}
        for i, name in enumerate(body.input):
            tensor = inputs[i] if i < len(inputs) else None
            names[name] = tensor if tensor is not None else _ABSENT
        inner.names = names
        before = len(self.problems)
        wanted = [name if i < len(proto.output) and proto.output[i] else "" for i, name in enumerate(body.output)]
        outputs = self.nodes_of([_without_absent(n, names) for n in body.node], wanted, inner)
        if len(self.problems) > before:
            raise ReportedError("")
        return outputs

    # ---- what is known ----

    def _folded(self, node: Node, rule: Rule) -> list[Any] | None:
        """The results of a node that are the same in every run, if they are small; None for others."""
        if node.proto.op_type in _CONTROL:
            return None
        alone = Node(
            GraphBuilder("folded"),
            Constants(),
            node.proto,
            node.opset,
            node.version,
            node.inputs,
            self,
            node.scope,
            node.attributes,
        )
        results = _ruled(alone, rule)
        operations = alone.builder.operations
        work = sum(r.type.size for op in operations for r in op.results) + sum(map(macs_of, operations))
        values = list(dict.fromkeys(value for r in results for value in _values(r)))
        if not values:
            return results
        if work > LARGEST or self.work + work > MAX_WORK:
            return None
        self.work += work
        arrays = dict(zip(values, evaluate(alone.builder.finish(values)), strict=True))
        return [_with_arrays(r, arrays) for r in results]


def _values(result: Any) -> Iterator[Value]:
    """The values of a graph that a result is, or that the tensors of a sequence are."""
    if isinstance(result, Value):
        yield result
    elif isinstance(result, Tensor):
        if result.value is not None:
            yield result.value
        for item in result.items or ():
            yield from _values(item)


def _with_arrays(result: Any, arrays: Mapping[Value, Array]) -> Any:
    """A result with numbers in the place of values."""
    if isinstance(result, Value):
        return arrays[result]
    if not isinstance(result, Tensor):
        return result
    items = None if result.items is None else tuple(_with_arrays(item, arrays) for item in result.items)
    if result.value is None:
        return replace(result, items=items)
    return replace(result, array=arrays[result.value], value=None, items=items)


_ABSENT = Tensor("")
"""What an input of a function stands for that a call leaves out."""
_CONTROL = frozenset({"If", "Loop", "Scan"})


def _stays(schema: Any) -> bool:
    """True if the oldest operator set of the rules defines an operator as an older one does."""
    later = schema_of(schema.name, OLDEST, "")
    return later is not None and later.since_version == schema.since_version


def _without_absent(proto: Any, names: Mapping[str, Tensor | None]) -> Any:
    """A node of a function whose inputs that the call leaves out are left out, too."""
    if not any(names.get(name) is _ABSENT for name in proto.input):
        return proto
    copy = type(proto)()
    copy.CopyFrom(proto)
    for i, name in enumerate(copy.input):
        if names.get(name) is _ABSENT:
            copy.input[i] = ""
    return copy


def _domain(proto: Any) -> str:
    return "" if proto.domain == "ai.onnx" else str(proto.domain)


def _type_of(tensor: Tensor | None) -> str:
    """The type of an input in messages."""
    if tensor is None or tensor.is_missing:
        return "nothing"
    if tensor.items is not None:
        return f"a sequence of {len(tensor.items)}"
    if tensor.foreign is not None and tensor.array is not None:
        return f"{tensor.foreign}{list(tensor.array.shape)}"
    return str(tensor.type)


def _title(number: int, proto: Any, scope: Scope) -> str:
    """A node in messages: its number, name, operator and operator set."""
    domain = _domain(proto)
    opset = scope.opsets.get(domain)
    name = f" `{proto.name}`" if proto.name else ""
    operator = f"{domain}.{proto.op_type}" if domain else proto.op_type
    version = f", opset {opset}" if opset is not None else ""
    return f"node {number}{name} ({operator}{version}){scope.place}"


def _ruled(node: Node, rule: Rule) -> list[Any]:
    """The results of a rule, if they are as many as the node has outputs and no attribute was passed over."""
    start = len(node.builder.operations)
    try:
        result = rule(node)
    except (UnknownInputError, ReportedError):
        raise
    except NetcError as error:
        del node.builder.operations[start:]
        node.forget()
        if isinstance(error, UnsupportedError | ShapeError):
            raise UnsupportedError(error.diagnostics) from None
        raise
    results = list(result) if isinstance(result, tuple) else [result]
    passed = sorted(set(node.attributes) - node.read)
    if passed:
        raise UnsupportedError(f"the attribute `{passed[0]}` is not supported here")
    if len(results) < len(node.proto.output):
        raise UnsupportedError(f"it has {len(node.proto.output)} outputs, of which netc makes {len(results)}")
    return results[: max(len(node.proto.output), 1)]


def _tensor(result: Value | Array | Tensor | None, sources: frozenset[str]) -> Tensor | None:
    if result is None or isinstance(result, Tensor):
        return result
    if isinstance(result, Value):
        return Tensor("", value=result, sources=sources)
    return Tensor("", array=result, sources=frozenset())
