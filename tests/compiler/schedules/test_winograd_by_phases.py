"""Convolutions of stride 2 by Winograd's filtering of even and odd inputs: when, and what it gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.cycles import form_by_phases
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.printer import print_graph
from netc.compiler.loops.ir import Prefetch, statements
from netc.compiler.modules.verifier import verify_module
from netc.compiler.ops.windows.winograd import F43, S23, S43
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

AROUND = ((1, 1), (1, 1))


def convolution(size: tuple[int, ...], padding: Any) -> Graph:
    """A convolution with bias, a residual sum and relu."""
    images, height, width, channels, filters = size
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (images, height, width, channels))))
    w = b.emit("param", shape=(3, 3, channels, filters), dtype="f32", name="w")
    bias = b.emit("param", shape=(filters,), dtype="f32", name="b")
    y = b.emit("conv2d", x, w, bias, strides=(2, 2), padding=padding, dilations=(1, 1))
    residual = b.input("r", y.type)
    return b.finish([b.emit("relu", b.emit("add", y, residual))])


def arrays_for(graph: Graph) -> tuple[list[Any], dict[str, Any]]:
    """Random inputs and parameters."""
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(v.type.shape, dtype=np.float32) for v in graph.inputs]
    params = [p.result for p in graph.parameters]
    return inputs, {v.name or "": rng.standard_normal(v.type.shape, dtype=np.float32) for v in params}


def outrunning(l2_bytes: int) -> Target:
    """This machine as one that multiplies two vectors of 512 bits in a cycle."""
    target = replace(host_target(), streams_slowly=False, vector_registers=32, float_units=2, l2_bytes=l2_bytes)
    if not target.outruns_caches:
        pytest.skip("other processors have not been measured")
    return target


@pytest.mark.parametrize("l2_bytes", [32 * 1024, 4 * 1024 * 1024], ids=["panels by points", "points by panels"])
@pytest.mark.parametrize(
    ("size", "padding", "tile"),
    [
        ((1, 32, 32, 64, 64), AROUND, 4),
        ((2, 47, 50, 40, 37), "same", 4),
        ((3, 57, 33, 33, 80), "valid", 4),
        ((1, 28, 28, 64, 130), "same", 2),
        ((2, 11, 28, 72, 60), AROUND, 2),
    ],
    ids=str,
)
def test_compiled_equals_meaning(size: tuple[int, ...], padding: Any, tile: int, l2_bytes: int) -> None:
    """By the same bits on any number of threads."""
    target = outrunning(l2_bytes)
    graph = optimize(convolution(size, padding), pipelines.INFERENCE, target)
    assert f"by winograd_by_phases[{tile},{tile}]" in print_graph(graph)
    inputs, params = arrays_for(graph)
    (expected,) = evaluate(graph, inputs, params)
    results = []
    for threads in (1, 2, 3):
        module = lower(graph, target, threads)
        verify_module(module)
        (kernel,) = (k for k in module.kernels if any(p.name == "m" for p in k.params))
        asks = any(isinstance(s, Prefetch) and s.buffer.name == "w" for s in statements(kernel.body))
        assert asks == (l2_bytes < 1024 * 1024)
        with Program(module, object_code(emit_module(module, target), target), target, threads, params) as program:
            results.append(np.asarray(program(*inputs)))
    np.testing.assert_allclose(results[0], expected, atol=1e-5 * float(np.abs(expected).max()), rtol=0)
    assert len({r.tobytes() for r in results}) == 1


@pytest.mark.parametrize(("form", "most"), [(S43, 0.8), (S23, 0.4), (F43, 1.3)], ids=["S43", "S23", "F43"])
def test_rounding_errors(form: Any, most: float) -> None:
    """In single precision, for 128 channels behind a relu: those with a stride of 1 are larger."""
    rng = np.random.default_rng(0)
    reach = form.reach(form.tile)
    data = np.maximum(rng.standard_normal((128, 100, reach, reach), np.float32), 0)
    taps = rng.standard_normal((128, 3, 3), np.float32)
    b, g, a = (np.array(m, np.float32) for m in (form.input, form.filter, form.output))
    index = np.minimum(np.arange(form.points), form.filter_points - 1)
    points = (g @ taps @ g.T)[:, index][:, :, index]
    products = np.zeros((100, form.points, form.points), np.float32)
    exact: Any = 0
    places = slice(0, form.stride * (form.tile - 1) + 1, form.stride)
    for image, element, point in zip(data, taps, points, strict=True):
        products += (b @ image @ b.T) * point
        for y, x in np.ndindex(3, 3):
            exact = exact + image[:, y:, x:][:, places, places].astype(np.float64) * element[y, x]
    errors = a @ products @ a.T - exact
    assert np.sqrt(np.mean(errors**2)) < most * 1e-6 * np.sqrt(np.mean(exact**2))


def test_what_is_not_finite_reaches_all_results_that_it_has_a_part_in() -> None:
    target = outrunning(32 * 1024)
    graph = optimize(convolution((1, 32, 32, 64, 64), AROUND), pipelines.INFERENCE, target)
    inputs, params = arrays_for(graph)
    params["w"][1, 1, 3, 5] = np.inf
    module = lower(graph, target, 1)
    with Program(module, object_code(emit_module(module, target), target), target, 1, params) as program:
        inputs[0][0, 7, 9, 2] = np.nan
        found = np.asarray(program(*inputs))
    (meant,) = evaluate(graph, inputs, params)
    finite = np.isfinite(meant)
    assert not np.isfinite(found[..., 5]).any()
    assert not np.isfinite(found[~finite & (meant != 0)]).any()
    away = np.delete(found[:, 8:], 5, axis=-1)
    assert np.isfinite(away).all()


def test_where_it_is_chosen() -> None:
    """On Zen 5, by cycles: small maps take smaller tiles, few channels or pixels none, other processors none."""
    assert form_by_phases(16, 1, (28, 28), 128, 128) == (S43, True)
    assert form_by_phases(16, 1, (14, 14), 256, 256) == (S23, True)
    assert not form_by_phases(16, 1, (112, 112), 3, 32)[1]
    assert form_by_phases(16, 1, (7, 7), 512, 512) == (S23, True)
    assert not form_by_phases(16, 1, (7, 7), 128, 128)[1]
    assert not form_by_phases(16, 1, (4, 4), 512, 512)[1], "filters at their points take longer than all products"
    graph = convolution((1, 32, 32, 64, 64), AROUND)
    for cpu, is_chosen in (("znver5", True), ("znver4", False), ("sapphirerapids", False), ("haswell", False)):
        text = print_graph(optimize(graph, pipelines.INFERENCE, find_target(cpu)))
        assert ("by winograd_by_phases[4,4]" in text) == is_chosen
