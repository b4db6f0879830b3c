"""map: a graph that is run on groups of samples, one group after the other."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.interpreter import evaluate_body
from ...graph.ir import Array, Attributes, AttributeSpec, Graph, Operator
from ...graph.registry import register
from ...types import TensorType
from ..facets import INTEGER, PERMUTED, TFLITE


@register
class Map(Operator):
    """The results of the graph `body` on each group of samples, put together along the first dimension.

    The first operands, as many as `mapped` says, are cut into groups along their first dimension; the graph takes the
    same share of each. It takes the other operands whole. So does `jax.lax.map` with a `batch_size`.
    """

    name = "map"
    operands = ("*values",)
    attributes = {
        "body": AttributeSpec(Graph, "graph from a group of samples to its results"),
        "mapped": AttributeSpec(int, "how many operands are cut into groups"),
    }
    regions = ("body",)
    keeps_layouts = True
    internal = True
    non_differentiable = "it is made for the sake of caches, behind differentiation"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        body: Graph = attributes["body"]
        mapped: int = attributes["mapped"]
        taken = tuple(v.type for v in body.inputs)
        if body.parameters or len(taken) != len(operands) or not 0 < mapped <= len(taken):
            raise ShapeError(f"map: @{body.name} can't take {len(operands)} operands, of which {mapped} are cut")
        turns = _turns(operands[0], taken[0])
        wanted = (*(_whole(t, turns) for t in taken[:mapped]), *taken[mapped:])
        if wanted != operands or not turns:
            shown = [", ".join(map(str, types)) for types in (wanted, operands)]
            raise ShapeError(f"map: @{body.name} takes groups of ({shown[0]}), not of ({shown[1]})")
        if any(not v.type.rank or any(v.type.margins[0]) for v in (*body.inputs[:mapped], *body.outputs)):
            raise ShapeError(f"map: groups of @{body.name} don't lie one behind the other")
        return tuple(_whole(v.type, turns) for v in body.outputs)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        body, mapped = attributes["body"], attributes["mapped"]
        turns = operands[0].shape[0] // body.inputs[0].type.shape[0]
        groups = zip(*(np.split(x, turns) for x in operands[:mapped]), strict=True)
        results = [evaluate_body(body, (*group, *operands[mapped:])) for group in groups]
        return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))


def _turns(whole: TensorType, group: TensorType) -> int:
    """How many groups there are."""
    return whole.shape[0] // group.shape[0] if whole.rank and group.rank and group.shape[0] else 0


def _whole(group: TensorType, turns: int) -> TensorType:
    """The type of all groups together."""
    shape = (group.shape[0] * turns, *group.shape[1:]) if group.rank else ()
    return TensorType(group.dtype, shape, group.layout, group.quantization)


_REASON = "passes make it behind quantization and permutations"
INTEGER.none(_REASON, Map)
PERMUTED.none(_REASON, Map)
TFLITE.none(_REASON, Map)
