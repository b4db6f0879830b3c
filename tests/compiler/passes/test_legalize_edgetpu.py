"""legalize-edgetpu keeps the meaning, and leaves operators that the Edge TPU has."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.edgetpu import model_facts, predict
from netc.compiler.graph import Graph, GraphBuilder, Value, evaluate
from netc.compiler.passes import LegalizeEdgeTpu, legalize_edgetpu, run
from netc.compiler.types import DType, TensorType
from netc.frontend import load_text

RNG = np.random.default_rng(3)


def graph_of(name: str, *shapes: tuple[int, ...], **attributes: object) -> Graph:
    """x: f32[shape], then parameters of the other shapes, and the operator on them."""
    b = GraphBuilder("net")
    first, *rest = shapes
    operands: list[Value] = [b.input("x", TensorType(DType.F32, first))]
    operands += [b.constant(RNG.standard_normal(shape).astype(np.float32)) for shape in rest]
    return b.finish([b.emit(name, *operands, **attributes)])


def shuffled(layer: str) -> Graph:
    """A net of one rearranging layer."""
    return load_text(f"net n(x: f32[1, 6, 4, 18]) {{ return {layer} }}", "n.net")


CONV1D = {"strides": (2,), "dilations": (1,)}
CONV2D = {"strides": (1, 2), "dilations": (1, 1)}


@pytest.mark.parametrize(
    "graph",
    [
        graph_of("leaky_relu", (1, 3, 4, 4), alpha=0.1),
        graph_of("abs", (1, 3, 4, 4)),
        graph_of("neg", (1, 3, 4, 4)),
        graph_of("div", (1, 3, 4, 4), (4,)),
        graph_of("conv1d", (1, 9, 4), (3, 4, 8), (8,), padding="same", **CONV1D),
        graph_of("conv1d", (1, 9, 4), (3, 4, 8), padding="valid", **CONV1D),
        graph_of("conv1d", (1, 9, 4), (3, 4, 8), padding=((2, 1),), **CONV1D),
        graph_of("conv1d", (1, 9, 4), (3, 1, 4), padding="same", strides=(1,), dilations=(2,), groups=4),
        graph_of("conv2d", (1, 5, 4, 8), (3, 3, 4, 6), (6,), padding="same", groups=2, **CONV2D),
        graph_of("conv2d", (1, 5, 4, 96), (1, 3, 16, 180), (180,), padding="same", groups=6, **CONV2D),
        graph_of("dense", (1, 5, 4), (4, 3), (3,)),
        graph_of("dense", (6, 4), (4, 3)),
        graph_of("resize_nearest", (1, 3, 5, 2), size=(12, 10)),
        graph_of("resize_nearest", (1, 3, 5, 2), size=(24, 40), half_pixel_centers=True),
        graph_of("depth_to_space", (1, 3, 5, 12), block_size=2),
        shuffled("reshape(transpose(reshape(x, [6, 2, 2, 3, 6]), permutation = [3, 1, 4, 0, 2]), [1, 9, 8, 6])"),
        shuffled("pixel_shuffle(x, 3)"),
        shuffled("pixel_unshuffle(x, 2)"),
    ],
    ids=lambda graph: f"{graph.operations[-1].name} to {graph.outputs[0].type.shape}",
)
def test_the_same_with_operators_that_map(graph: Graph) -> None:
    legal = run(graph, "legalize-edgetpu")
    assert predict(model_facts(graph)).causes
    assert not predict(model_facts(legal)).causes
    x = RNG.standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    (before,), (after,) = evaluate(graph, (x,)), evaluate(legal, (x,))
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6 * float(np.abs(before).max()))
    assert legalize_edgetpu(legal) is legal


@pytest.mark.parametrize(
    "graph",
    [
        graph_of("leaky_relu", (1, 4), alpha=1.5),
        graph_of("exp", (1, 4)),
    ],
    ids=["steep", "unknown"],
)
def test_what_has_no_other_form_stays(graph: Graph) -> None:
    legal = LegalizeEdgeTpu()(graph)
    assert [op.name for op in legal.operations] == [op.name for op in graph.operations]


def test_groups_with_batch_norm_and_channels_that_four_does_not_divide() -> None:
    graph = load_text("net n(x: f32[1, 6, 4, 24]) { return relu(batch_norm(conv(x, 144, 3, groups = 12))) }", "n.net")
    legal = run(graph, "legalize-edgetpu")
    assert "batch_norm" not in {op.name for op in legal.operations}
    assert [op.name for op in legal.operations].count("conv2d") == 3
    assert not predict(model_facts(legal)).causes


def test_division_by_zero_stays() -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 2)))
    graph = b.finish([b.emit("div", x, b.constant(np.array([1, 0], np.float32)))])
    assert [op.name for op in legalize_edgetpu(graph).operations] == ["constant", "div"]
