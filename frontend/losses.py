"""Blocks as losses: a block of a prediction and its labels becomes a graph by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compiler.errors import Diagnostic, NetcError
from ..compiler.graph.ir import Graph
from ..compiler.types import DType, TensorType
from . import ast
from .annotations import free_sizes, is_tensor_annotation, match_tensor, tensor_type
from .budget import Budget, OverspentError
from .calls import CallRunner
from .elaborate import from_python
from .signatures import Arguments, Given
from .state import CallSite, Elaboration, Frame, LimitError
from .values import Definition, Poisoned, Tensor, describe, error


def elaborate_loss(
    block: Definition, prediction: TensorType, hyperparameters: Mapping[str, Any], budget: Budget
) -> tuple[Graph | None, list[Diagnostic]]:
    """Make the graph of a block called with a prediction and labels; with diagnostics there is none.

    The annotation of the block's second parameter is the type of the labels. Its free sizes are those that the
    annotation of the first parameter binds to sizes of the prediction; N, if not among them, is the prediction's first
    size. Labels without an annotation are class numbers: i32, one for each row of the prediction.
    """
    state = Elaboration(block.name, budget)
    frame = Frame(block.name, block.scope)
    place = block.node.name.location
    try:
        arguments = _arguments(block, prediction, hyperparameters, state)
        result = CallRunner(state).call(CallSite(state, frame, place), block, None, arguments)
        if not isinstance(result, Tensor) or not result.type.dtype.is_float:
            raise error(f"the loss {block.name} must return one tensor of real numbers, not {describe(result)}", place)
        if state.parameters:
            name, parameter = next(iter(state.parameters.items()))
            raise error(f"the loss {block.name} can't hold parameters such as {name}", parameter.location)
        if not state.diagnostics:
            return state.builder.finish((result,)), []
    except NetcError as problem:
        state.report(problem, frame, place)
    except (Poisoned, LimitError):
        pass
    except OverspentError as problem:
        state.diagnostics[""] = Diagnostic(str(problem), place)
    except RecursionError:
        state.diagnostics[""] = Diagnostic("the loss is nested too deeply", place)
    return None, list(state.diagnostics.values())


def _arguments(
    block: Definition, prediction: TensorType, hyperparameters: Mapping[str, Any], state: Elaboration
) -> Arguments:
    place = block.node.name.location
    parameters = block.node.parameters if isinstance(block.node, ast.Procedure) else ()
    if len(parameters) < 2:
        raise error(f"a loss takes a prediction and labels, but {block.name} takes {len(parameters)}", place)
    first, second = parameters[:2]
    scores = state.builder.input(first.name.id, prediction.dense())
    labels = state.builder.input(second.name.id, _labels(first, second, scores, state, block))
    named = {name: from_python(name, value, place) for name, value in hyperparameters.items()}
    return Arguments((Given(scores, first.location), Given(labels, second.location)), named)


def _labels(
    first: ast.Parameter, second: ast.Parameter, scores: Tensor, state: Elaboration, block: Definition
) -> TensorType:
    annotation, shape = second.annotation, scores.type.shape
    if annotation is None or not is_tensor_annotation(annotation):
        return TensorType(DType.I32, shape[:-1] if len(shape) > 1 else shape)
    frame = Frame(block.name, block.scope)
    evaluator = CallRunner(state)
    match_tensor(first, scores, frame.variables, lambda size: evaluator.evaluate(size, frame), first.location)
    if shape:
        frame.variables.setdefault("N", shape[0])
    for name, location in free_sizes(annotation, frame.variables).items():
        raise error(f"nothing says how large {name} is", location, "name it in the annotation of the prediction")
    return tensor_type(annotation, lambda size: evaluator.evaluate(size, frame))
