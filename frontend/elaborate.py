"""Syntax tree -> graph: calls of blocks, funcs, layers and operators, and the nets they make.

Blocks are inlined, loops unrolled, conditions decided; what remains is a dataflow graph whose operations know the place
in the text they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.graph.ir import Attributes, Graph, Operator, Value
from ..compiler.ops.layer import Layer
from . import arithmetic, ast
from .annotations import free_sizes, hyperparameter_kind, is_tensor_annotation, match_tensor, tensor_type
from .budget import Budget, OverspentError
from .expressions import POISON
from .gradients import GradientCall
from .names import check_gradient, recursion, unknown_hyperparameter
from .quantized import settings
from .run_time import RUNNING
from .signatures import Arguments, Given, Slot, bind, slots_of_function, slots_of_layer, slots_of_operator
from .state import MAX_DEPTH, CallSite, Elaboration, Frame, LimitError, Use
from .statements import StatementRunner
from .tensors import apply_operator
from .values import (
    Builtin,
    Definition,
    Placed,
    Poisoned,
    Record,
    Shared,
    Tensor,
    applying,
    contains_tensor,
    describe,
    error,
    is_callee,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is bound when a net is elaborated."""

    batch: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    hyperparameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def elaborate(
    net: Definition, options: Options, attributes: Attributes, budget: Budget
) -> tuple[Graph | None, list[Diagnostic]]:
    """Make the graph of a net; with diagnostics there is none."""
    state = Elaboration(net.name, budget)
    state.builder.attributes.update(attributes)
    state.stored = [stored for module in net.scope.reachable() for stored in module.stored]
    try:
        outputs = Elaborator(state).net(net, options)
    except LimitError:
        outputs = None
    except OverspentError as problem:
        outputs = None
        state.diagnostics[""] = Diagnostic(str(problem), net.node.name.location)
    except RecursionError:
        outputs = None
        state.diagnostics[""] = Diagnostic("the net is nested too deeply", net.node.name.location)
    diagnostics = list(state.diagnostics.values())
    if diagnostics or outputs is None:
        return None, diagnostics
    return state.builder.finish(outputs), []


def unfold(net: Definition) -> tuple[Definition, list[ast.Specialisation]]:
    """The net that a chain of specialisations is made from, and the chain, outermost first."""
    chain: list[ast.Specialisation] = []
    seen = {net: None}
    while isinstance(net.node, ast.Specialisation):
        chain.append(net.node)
        base = net.scope.find(net.node.base.id, net.node.base.location)
        if base is None or base.kind != "net":
            raise error(f"there is no net `{net.node.base.id}`", net.node.base.location)
        if base in seen:
            raise NetcError([recursion([d.name for d in [*seen][[*seen].index(base) :]], net.node.base.location)])
        net = base
        seen[net] = None
        if len(seen) > MAX_DEPTH:
            raise error(f"nets are specialised more than {MAX_DEPTH} times in a row", net.node.name.location)
    return net, chain


class Elaborator(StatementRunner):
    """Calls: inlines definitions, runs layers, emits operators."""

    # --- nets

    def net(self, net: Definition, options: Options) -> tuple[Value, ...] | None:
        """Elaborate an entry point and return its outputs, None if errors were reported."""
        try:
            base, given = self._specialise(net)
            procedure = base.node
            assert isinstance(procedure, ast.Net)
            frame = Frame(net.name, base.scope, procedure=procedure)
            try:
                self._hyperparameters(procedure, frame, given, options)
                self._inputs(procedure, frame, options)
            except NetcError as problem:
                self.state.report(problem, frame, procedure.name.location)
                return None
            return self._outputs(self._body(frame, procedure), procedure) + self._updates(frame)
        except NetcError as problem:
            self.state.report(problem, Frame(net.name, net.scope), net.node.name.location)
        except Poisoned:
            pass
        return None

    def _specialise(self, net: Definition) -> tuple[Definition, dict[str, Given]]:
        base, _ = unfold(net)
        given: dict[str, Given] = {}
        while isinstance(net.node, ast.Specialisation):
            frame = Frame(net.name, net.scope)
            for argument in net.node.arguments:
                if argument.name is not None and argument.name not in given:
                    given[argument.name] = Given(self.evaluate(argument.value, frame), argument.location)
            net = net.scope.find(net.node.base.id, net.node.base.location)
        return base, given

    def _hyperparameters(self, net: ast.Net, frame: Frame, given: dict[str, Given], options: Options) -> None:
        overrides = {k: from_python(k, v, net.name.location) for k, v in options.hyperparameters.items()}
        given = {**given, **overrides}
        parameters = {p.name.id: p for p in net.parameters if not is_tensor_annotation(p.annotation)}
        for name, item in given.items():
            if name not in parameters:
                raise NetcError([unknown_hyperparameter(net, name, parameters, item.location)])
        for name, parameter in parameters.items():
            if name in given:
                value = Given(self._block_named(given[name].value, parameter, frame), given[name].location)
                self._check_kind(net.name.id, parameter, value)
                frame.variables[name] = value.value
            elif parameter.default is None:
                hint = f"`net NAME = {net.name.id}({name} = ...)` makes a net with a value for it"
                raise error(f"net {frame.name} needs a value for `{name}`", parameter.location, hint)
            else:
                self._default(net, parameter, frame)

    def _block_named(self, value: Any, parameter: ast.Parameter, frame: Frame) -> Any:
        """The value; where a block is wanted, a text is the name of one.

        It is where the parameter is annotated as one, or where the default has one, also in a field of a record.
        """
        if parameter.annotation is not None:
            wanted = parameter.annotation.name == "block"
            return self._blocks(value, parameter.location, frame) if wanted else value
        return self._like(value, parameter.default, frame)

    def _like(self, value: Any, default: ast.Expr | None, frame: Frame) -> Any:
        """The value, with blocks where the default has some; records of a list are like the default's first."""
        match default:
            case ast.RecordOf() if isinstance(value, Record):
                defaults = {f.name: f.value for f in default.fields}
                return Record({k: self._like(v, defaults.get(k), frame) for k, v in value.fields.items()})
            case ast.Sequence() if isinstance(value, tuple) and default.items:
                return tuple([self._like(item, default.items[0], frame) for item in value])
            case ast.Name() if default.id not in frame.variables:
                is_block = is_callee(self.look_up(default, Frame(frame.name, frame.scope)))
                return self._blocks(value, default.location, frame) if is_block else value
            case _:
                return value

    def _blocks(self, value: Any, location: Location, frame: Frame) -> Any:
        """The value, with blocks in place of their names."""
        if isinstance(value, tuple):
            return tuple([self._blocks(item, location, frame) for item in value])
        if isinstance(value, str):
            return self.look_up(ast.Name(location, value), Frame(frame.name, frame.scope), called=True)
        return value

    def _inputs(self, net: ast.Net, frame: Frame, options: Options) -> None:
        tensors = [p for p in net.parameters if is_tensor_annotation(p.annotation)]
        if not tensors:
            raise error(
                f"net {net.name.id} has no input", net.name.location, "write for example image: f32[N, 28, 28, 1]"
            )
        free = {name: at for p in tensors for name, at in free_sizes(p.annotation, frame.variables).items()}
        known = {"N": options.batch, **options.sizes}
        for name in options.sizes:
            if name not in free:
                raise error(f"net {net.name.id} has no free size {name}", net.name.location, near_miss(name, free))
        if options.batch != 1 and "N" not in free:
            raise error(f"net {net.name.id} has no free batch size N", net.name.location, "write N as the first size")
        for name, location in free.items():
            if name not in known:
                raise error(f"the free size {name} of net {net.name.id} is not given", location)
            frame.variables[name] = known[name]
        for parameter in tensors:
            assert parameter.annotation is not None
            if parameter.default is not None:
                raise error("an input has no default", parameter.default.location)
            kind = tensor_type(parameter.annotation, lambda size: self.evaluate(size, frame))
            frame.variables[parameter.name.id] = self.state.builder.input(parameter.name.id, kind)

    def _outputs(self, result: Any, net: ast.Net) -> tuple[Value, ...]:
        if isinstance(result, Record):
            self.state.builder.attributes["signature"] = {"outputs": tuple(result.fields)}
            result = tuple(result.fields.values())
        values = result if isinstance(result, tuple) else (result,)
        for value in values:
            if not isinstance(value, Tensor):
                raise error(f"net {net.name.id} must return tensors, not {describe(value)}", net.name.location)
        if not values:
            raise error(f"net {net.name.id} returns an empty list", net.name.location)
        return values

    def _updates(self, frame: Frame) -> tuple[Value, ...]:
        """The next values of all states, which the graph gives behind its results."""
        updates = self.state.updates
        for state, location in self.state.states.items():
            if state not in updates and not frame.damaged:
                hint = "write `next(state) = value`"
                raise error(f"nothing says what comes next in the state `{state.name}`", location, hint)
        if updates:
            self.state.builder.attributes["updates"] = tuple(state.name for state in updates)
        return tuple(update.value for update in updates.values())

    # --- calls

    def call(self, site: CallSite, callee: Any, label: str | None, arguments: Arguments) -> Any:
        """Call a definition, layer, operator or builtin function."""
        if isinstance(callee, Shared):
            return self._shared(site, callee, label, arguments)
        if isinstance(callee, Placed):
            return callee.function(site, label, arguments)
        if isinstance(callee, Layer | Definition) and not _is_func(callee):
            path = self.state.path(site.frame.component(callee.name, label), site.location)
            return self._below(site, callee, path, arguments)
        if label is not None and not isinstance(callee, Operator):
            raise error(f"{callee.name} has no parameters that @{label} could name", site.location)
        if isinstance(callee, Definition):
            return self._func(site, callee, arguments)
        if isinstance(callee, Operator):
            return self._operator(site, callee, arguments)
        return self._builtin(site, callee, arguments)

    def _below(self, site: CallSite, callee: Layer | Definition, path: str, arguments: Arguments) -> Any:
        """Call what may hold parameters; their names begin with `path`."""
        if isinstance(callee, Layer):
            return self._layer(site, callee, path, arguments)
        return self._block(site, callee, path, arguments)

    def _shared(self, site: CallSite, shared: Shared, label: str | None, arguments: Arguments) -> Any:
        if label is not None:
            hint = f"its parameters are called {shared.path}..., by the label at `share`"
            raise error(f"a call of {describe(shared)} has no label", site.location, hint)
        site.use = Use(shared, site.frame.use)
        given = Arguments(arguments.positional, {**shared.named, **arguments.named})
        return self._below(site, shared.callee, shared.path, given)

    def _layer(self, site: CallSite, layer: Layer, path: str, arguments: Arguments) -> Any:
        slots = slots_of_layer(layer)
        bound = bind(layer.name, slots, arguments, site.location, self.state.budget)
        site.path = path
        by_position: list[Any] = []
        if any(slot.variadic for slot in slots):
            for slot in slots:
                if slot.named_only:
                    break
                value = bound.pop(slot.name, ())
                by_position += value if slot.variadic else [value]
        with applying(layer.name, site.location):
            return layer.function(site, *by_position, **bound)

    def _operator(self, site: CallSite, operator: Operator, arguments: Arguments) -> Any:
        bound = bind(operator.name, slots_of_operator(operator), arguments, site.location, self.state.budget)
        operands: list[Value] = []
        for name in operator.operands:
            value = bound.pop(name.strip("*?"), ())
            operands += value if isinstance(value, tuple) else (value,)
        with applying(operator.name, site.location):
            bound = settings(operator, operands, bound)
        results = self.state.operation(site.frame, site.location, operator.name, *operands, **bound)
        return results[0] if len(results) == 1 else results

    def _builtin(self, site: CallSite, builtin: Builtin, arguments: Arguments) -> Any:
        budget = self.state.budget
        values = tuple(v for g in arguments.positional for v in (g.value if isinstance(g.value, tuple) else (g.value,)))
        if builtin.operator is not None and not arguments.named and contains_tensor(values, budget):
            return apply_operator(builtin, values, site.emit, site.location)
        slots = slots_of_function(builtin.function)
        bound = bind(builtin.name, slots, arguments, site.location, budget)
        variadic = [v for slot in slots if slot.variadic for v in bound.pop(slot.name, ())]
        return arithmetic.call(builtin, variadic, bound, site.location, budget)

    def _func(self, site: CallSite, func: Definition, arguments: Arguments) -> Any:
        for given in arguments:
            if contains_tensor(given.value, self.state.budget):
                hint = "a `block` works on tensors"
                raise error(f"{func.name} is a func: it computes numbers, not tensors", given.location, hint)
        assert isinstance(func.node, ast.Func)
        return self._procedure(site, func, func.node, site.frame.path, arguments)

    def _block(self, site: CallSite, block: Definition, path: str, arguments: Arguments) -> Any:
        base = block
        if isinstance(block.node, ast.Specialisation):
            base, given = self._specialise(block)
            arguments = Arguments(arguments.positional, {**given, **arguments.named})
        assert isinstance(base.node, ast.Procedure)
        frame = self._frame(site, base, base.node, path, arguments)
        gradient: Definition | None = base.scope.gradients.get(base.name)
        if gradient is None or not isinstance(base.node, ast.Block):
            return self._body(frame, base.node)
        return self._with_gradient(site, gradient, frame, base.node)

    def _with_gradient(self, site: CallSite, gradient: Definition, frame: Frame, block: ast.Block) -> Any:
        """Run the body of a block whose gradient is given, and attach the latter to its result."""
        if problems := list(check_gradient(gradient)):
            raise NetcError(problems)
        self._refuse_recursion(gradient, site)
        call = GradientCall(
            gradient,
            {p.name.id: frame.variables[p.name.id] for p in block.parameters},
            site.location,
            self.state.budget,
        )
        before = len(self.state.met)
        result = call.checked_result(self._body(frame, block))
        call.refuse_parameters(self.state.met[before:])
        state = Elaboration.nested(self.state, f"{frame.name}.gradient")
        inner = Frame(gradient.name, gradient.scope, "", site.frame, site.location, call.node)
        inner.variables.update(call.inputs(state.builder, result))
        elaborator = Elaborator(state)
        elaborator.match_annotations(inner, call.node)
        graph = call.finish(state.builder, elaborator._body(inner, call.node))
        call.refuse_parameters(state.met)
        return site.emit("custom_gradient", result, *call.tensors.values(), gradient=graph)

    def _procedure(
        self,
        site: CallSite,
        definition: Definition,
        procedure: ast.Procedure,
        path: str,
        arguments: Arguments,
    ) -> Any:
        return self._body(self._frame(site, definition, procedure, path, arguments), procedure)

    def _frame(
        self,
        site: CallSite,
        definition: Definition,
        procedure: ast.Procedure,
        path: str,
        arguments: Arguments,
    ) -> Frame:
        """The frame of a call, all parameters bound."""
        self._refuse_recursion(definition, site)
        slots = [_slot(p) for p in procedure.parameters]
        bound = bind(definition.name, slots, arguments, site.location, self.state.budget)
        frame = Frame(definition.name, definition.scope, path, site.frame, site.location, procedure)
        frame.use = site.use or site.frame.use
        frame.variables.update(bound)
        try:
            for parameter in procedure.parameters:
                if parameter.name.id not in bound:
                    self._default(procedure, parameter, frame)
        except NetcError as problem:
            self.state.report(problem, frame, site.location)
            raise Poisoned from None
        self.match_annotations(frame, procedure)
        return frame

    def match_annotations(self, frame: Frame, procedure: ast.Procedure) -> None:
        """Check tensors against the types that they are annotated with; free sizes take their sizes."""
        for parameter in procedure.parameters:
            if is_tensor_annotation(parameter.annotation):
                value = frame.variables[parameter.name.id]
                at = frame.called_at or parameter.location
                match_tensor(parameter, value, frame.variables, lambda size: self.evaluate(size, frame), at)

    def _refuse_recursion(self, definition: Definition, site: CallSite) -> None:
        names: list[str] = []
        frame: Frame | None = site.frame
        while frame is not None:
            names.insert(0, frame.name)
            if frame.procedure is definition.node:
                raise NetcError([recursion(names, site.location)])
            frame = frame.caller

    def _default(self, procedure: ast.Procedure, parameter: ast.Parameter, frame: Frame) -> None:
        assert parameter.default is not None, "bind has asked for the others"
        value = self.evaluate(parameter.default, frame)
        self._check_kind(procedure.name.id, parameter, Given(value, parameter.default.location))
        frame.variables[parameter.name.id] = value

    def _check_kind(self, name: str, parameter: ast.Parameter, given: Given) -> None:
        bind(name, [_slot(parameter)], Arguments((given,)), given.location, self.state.budget)

    def _body(self, frame: Frame, procedure: ast.Procedure) -> Any:
        result = self.run(procedure.body, frame)
        if result is POISON or (result is RUNNING and frame.damaged):
            raise Poisoned
        if result is RUNNING:
            hint = "end it with `return value`"
            trail = frame.trail()
            self.state.add(Diagnostic(f"{procedure.name.id} returns nothing", procedure.name.location, hint, trail))
            raise Poisoned
        return result


def _is_func(callee: Layer | Definition) -> bool:
    return isinstance(callee, Definition) and isinstance(callee.node, ast.Func)


def _slot(parameter: ast.Parameter) -> Slot:
    return Slot(parameter.name.id, hyperparameter_kind(parameter.annotation), parameter.default is None)


def from_python(name: str, value: Any, location: Location) -> Given:
    """A value that Python code gives for a hyperparameter, as a value of the language."""
    if isinstance(value, list | tuple):
        return Given(tuple(from_python(name, item, location).value for item in value), location)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and key.isidentifier() for key in value):
            raise error(f"the fields of a record in `{name}` need names", location)
        return Given(Record({key: from_python(name, item, location).value for key, item in value.items()}), location)
    if not isinstance(value, bool | int | float | str | None):
        raise error(f"hyperparameter `{name}` can't be {value!r}", location)
    return Given(arithmetic.checked(value, location), location)
