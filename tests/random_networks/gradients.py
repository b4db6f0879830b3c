"""Gradients of random networks against differences, in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netc.compiler.graph import Array, Graph
from netc.compiler.graph.registry import operators
from netc.compiler.passes import differentiate, jvp
from tests.derivatives import STEP, Point, with_loss

from .checks import WrongError
from .maker import Network
from .recipes import RECIPES

DIFFERENTIABLE = tuple(name for name in RECIPES if not operators()[name].non_differentiable)
"""Operators that differentiation goes through."""
CONVENTIONAL = ("fake_quantize", "stop_gradient", "custom_gradient")
"""Operators whose gradient is none of what they compute, but what people want there."""
EXACT = tuple(name for name in DIFFERENTIABLE if name not in CONVENTIONAL)


def gradient_network(network: Network) -> Network | None:
    """The network that gives a loss of all outputs, and its gradients; None where nothing can be moved."""
    wrt = movable(network)
    loss = with_loss(network.graph) if any(v.type.dtype.is_float for v in network.graph.outputs) else None
    if loss is None or not wrt:
        return None
    return Network(differentiate(loss, 0, wrt), network.inputs, network.params)


def movable(network: Network) -> list[str]:
    """Inputs and parameters of floats."""
    return [name for name, array in {**network.inputs, **network.params}.items() if array.dtype.kind == "f"]


def check_gradients(network: Network) -> None:
    """Raise `WrongError` unless first and second gradients agree with differences, reverse with forward mode.

    Singles, which some operators ask for among doubles, stay where they are: steps would drown in their rounding.
    """
    given = {**network.inputs, **network.params}
    wrt = [name for name in movable(network) if given[name].dtype == np.float64]
    if not wrt or not any(v.type.dtype.is_float for v in network.graph.outputs):
        return
    point = Point(network.inputs, network.params)
    loss = with_loss(network.graph)
    _check("gradient", loss, point, wrt)
    _check("second gradient", with_loss(differentiate(loss, 0, wrt)), point, wrt)


def _check(what: str, loss: Graph, point: Point, wrt: Sequence[str]) -> None:
    everything = {**point.inputs, **point.params}
    rng = np.random.default_rng(len(wrt))
    direction = {name: np.asarray(rng.standard_normal(everything[name].shape)) for name in wrt}
    value, *gradients = point.outputs(differentiate(loss, 0, list(wrt)))
    backward = sum(float(np.sum(g * direction[name])) for name, g in zip(wrt, gradients, strict=True))
    tangents = {f"{name}.tangent": d for name, d in direction.items()}
    _, forward = point.outputs(jvp(loss, list(wrt)), **tangents)
    size = max(1.0, abs(float(value)), sum(float(np.abs(g).sum()) for g in gradients))
    if abs(backward - float(forward)) > 1e-10 * size:
        raise WrongError(f"{what}: reverse mode gives {backward}, forward mode {float(forward)}")
    near, far = (_difference(loss, point, direction, step) for step in (STEP, 4 * STEP))
    if abs(backward - near) > 1e-5 * size + 10 * abs(near - far):
        raise WrongError(f"{what}: reverse mode gives {backward}, differences {near} and {far}")


def _difference(loss: Graph, point: Point, direction: dict[str, Array], step: float) -> float:
    ahead, behind = (point.moved(direction, s).outputs(loss)[0] for s in (step, -step))
    return float(ahead - behind) / (2 * step)
