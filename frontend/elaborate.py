"""Syntax tree -> graph: a net with its hyperparameters and sizes, whose body is run once (see `calls`, `statements`).

Blocks are inlined, loops unrolled, conditions decided; what remains is a dataflow graph whose operations know the place
in the text they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.graph.ir import Attributes, Graph, Value
from . import arithmetic, ast
from .annotations import free_sizes, is_tensor_annotation, tensor_type
from .budget import Budget, OverspentError
from .calls import CallRunner
from .names import unknown_hyperparameter
from .signatures import Given
from .state import Elaboration, Frame, LimitError
from .values import Definition, Poisoned, Record, Tensor, describe, error, is_callee


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
        outputs = NetElaborator(state).net(net, options)
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


class NetElaborator(CallRunner):
    """Makes the graph of a net: binds hyperparameters and sizes, runs the body, and gathers outputs."""

    def net(self, net: Definition, options: Options) -> tuple[Value, ...] | None:
        """Elaborate an entry point and return its outputs, None if errors were reported."""
        try:
            base, given = self.specialised(net)
            procedure = base.node
            assert isinstance(procedure, ast.Net)
            frame = Frame(net.name, base.scope, procedure=procedure)
            try:
                self._hyperparameters(procedure, frame, given, options)
                self._inputs(procedure, frame, options)
            except NetcError as problem:
                self.state.report(problem, frame, procedure.name.location)
                return None
            return self._outputs(self.body(frame, procedure), procedure) + self._updates(frame)
        except NetcError as problem:
            self.state.report(problem, Frame(net.name, net.scope), net.node.name.location)
        except Poisoned:
            pass
        return None

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
                self.check_kind(net.name.id, parameter, value)
                frame.variables[name] = value.value
            elif parameter.default is None:
                hint = f"`net NAME = {net.name.id}({name} = ...)` makes a net with a value for it"
                raise error(f"net {frame.name} needs a value for `{name}`", parameter.location, hint)
            else:
                self.take_default(net, parameter, frame)

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
