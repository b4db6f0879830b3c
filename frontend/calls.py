"""Calls: definitions are inlined, layers run, operators emitted, builtin functions computed."""

from __future__ import annotations

from typing import Any

from ..compiler.errors import Diagnostic, NetcError
from ..compiler.graph.ir import Operator, Value
from ..compiler.ops.layer import Layer
from . import arithmetic, ast
from .annotations import hyperparameter_kind, is_tensor_annotation, match_tensor
from .expressions import POISON
from .gradients import GradientCall
from .names import check_gradient, recursion
from .quantized import settings
from .run_time import RUNNING
from .signatures import Arguments, Given, Slot, bind, slots_of_function, slots_of_layer, slots_of_operator
from .state import MAX_DEPTH, CallSite, Elaboration, Frame, Use
from .statements import StatementRunner
from .tensors import apply_operator
from .values import Applying, Builtin, Definition, Placed, Poisoned, Shared, contains_tensor, describe, error


def unfold(net: Definition) -> tuple[Definition, list[ast.Specialisation]]:
    """The net that a chain of specialisations is made from, and the chain, outermost first.

    Raises `NetcError` for chains that have no end, or no net there.
    """
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


class CallRunner(StatementRunner):
    """Runs what is called in a frame."""

    def specialised(self, net: Definition) -> tuple[Definition, dict[str, Given]]:
        """What a chain of specialisations is made from, and the arguments that they give."""
        base, _ = unfold(net)
        given: dict[str, Given] = {}
        while isinstance(net.node, ast.Specialisation):
            frame = Frame(net.name, net.scope)
            for argument in net.node.arguments:
                if argument.name is not None and argument.name not in given:
                    given[argument.name] = Given(self.evaluate(argument.value, frame), argument.location)
            net = net.scope.find(net.node.base.id, net.node.base.location)
        return base, given

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
        with Applying(layer.name, site.location):
            return layer.function(site, *by_position, **bound)

    def _operator(self, site: CallSite, operator: Operator, arguments: Arguments) -> Any:
        bound = bind(operator.name, slots_of_operator(operator), arguments, site.location, self.state.budget)
        operands: list[Value] = []
        for name in operator.operands:
            value = bound.pop(name.strip("*?"), ())
            operands += value if isinstance(value, tuple) else (value,)
        with Applying(operator.name, site.location):
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
            base, given = self.specialised(block)
            arguments = Arguments(arguments.positional, {**given, **arguments.named})
        assert isinstance(base.node, ast.Procedure)
        frame = self._frame(site, base, base.node, path, arguments)
        gradient: Definition | None = base.scope.gradients.get(base.name)
        if gradient is None or not isinstance(base.node, ast.Block):
            return self.body(frame, base.node)
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
        result = call.checked_result(self.body(frame, block))
        call.refuse_parameters(self.state.met[before:])
        state = Elaboration.nested(self.state, f"{frame.name}.gradient")
        inner = Frame(gradient.name, gradient.scope, "", site.frame, site.location, call.node)
        inner.variables.update(call.inputs(state.builder, result))
        inside = CallRunner(state)
        inside.match_annotations(inner, call.node)
        graph = call.finish(state.builder, inside.body(inner, call.node))
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
        return self.body(self._frame(site, definition, procedure, path, arguments), procedure)

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
        known = self.state.slots.get(id(procedure))
        if known is None:
            known = self.state.slots[id(procedure)] = [_slot(p) for p in procedure.parameters], procedure
        bound = bind(definition.name, known[0], arguments, site.location, self.state.budget)
        frame = Frame(definition.name, definition.scope, path, site.frame, site.location, procedure)
        frame.use = site.use or site.frame.use
        frame.variables.update(bound)
        try:
            for parameter in procedure.parameters:
                if parameter.name.id not in bound:
                    self.take_default(procedure, parameter, frame)
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

    def take_default(self, procedure: ast.Procedure, parameter: ast.Parameter, frame: Frame) -> None:
        """Give a parameter the value of its default."""
        assert parameter.default is not None, "bind has asked for the others"
        value = self.evaluate(parameter.default, frame)
        self.check_kind(procedure.name.id, parameter, Given(value, parameter.default.location))
        frame.variables[parameter.name.id] = value

    def check_kind(self, name: str, parameter: ast.Parameter, given: Given) -> None:
        """Raise `NetcError` unless a value is of the kind that a parameter is annotated with."""
        bind(name, [_slot(parameter)], Arguments((given,)), given.location, self.state.budget)

    def body(self, frame: Frame, procedure: ast.Procedure) -> Any:
        """Run the body of a definition; what it returns."""
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
