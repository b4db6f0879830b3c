"""The layer resize against PyTorch's interpolate, forward and backward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes import differentiate, pipelines, run

SIZES = ((9, 7), (3, 13), (10, 12), (1, 1))
WAYS = [
    ('mode = "nearest"', {"mode": "nearest"}),
    ('mode = "nearest", coordinates = "half_pixel"', {"mode": "nearest-exact"}),
    ('mode = "bilinear"', {"mode": "bilinear", "align_corners": False}),
    ('mode = "bilinear", coordinates = "align_corners"', {"mode": "bilinear", "align_corners": True}),
    ('mode = "bicubic"', {"mode": "bicubic", "align_corners": False}),
    ('mode = "bicubic", coordinates = "align_corners"', {"mode": "bicubic", "align_corners": True}),
    ('mode = "area"', {"mode": "area"}),
    ('mode = "bilinear", antialias = true', {"mode": "bilinear", "antialias": True}),
    ('mode = "bicubic", antialias = true', {"mode": "bicubic", "antialias": True}),
]
OTHER_RANKS = [
    ((2, 7, 3), 'size = 11, mode = "linear"', {"size": 11, "mode": "linear"}),
    ((2, 7, 3), "scale = 0.6", {"scale_factor": 0.6, "mode": "linear"}),
    ((1, 3, 4, 5, 2), 'size = [5, 4, 9], mode = "trilinear"', {"size": (5, 4, 9), "mode": "trilinear"}),
    ((1, 3, 4, 5, 2), 'scale = 2, mode = "nearest"', {"scale_factor": 2, "mode": "nearest"}),
    ((1, 3, 4, 5, 2), 'size = [2, 2, 3], mode = "area"', {"size": (2, 2, 3), "mode": "area"}),
]


def graph_of(tmp_path: Path, shape: tuple[int, ...], call: str) -> Any:
    file = tmp_path / "net.net"
    file.write_text(f"net resized(x: f32[{', '.join(map(str, shape))}]) {{ return resize(x, {call}) }}\n")
    return netc.load(file)


def check(graph: Any, shape: tuple[int, ...], options: dict[str, Any], *, compiled: bool = False) -> None:
    """Result and gradient, in the interpreter, and compiled if told so."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape, np.float32)
    moved = torch.from_numpy(x).movedim(-1, 1).contiguous().requires_grad_()
    y = torch.nn.functional.interpolate(moved, **options)
    dy = rng.standard_normal(y.movedim(1, -1).shape, np.float32)
    y.backward(torch.from_numpy(dy).movedim(-1, 1))
    b = GraphBuilder("weighted")
    (value,) = b.inline(graph, [b.input("x", graph.inputs[0].type)])
    loss = b.emit("reduce_sum", b.emit("mul", value, b.input("dy", value.type)))
    step = differentiate(b.finish([loss]), 0, ["x"])
    for found in (evaluate(step, [x, dy])[1], *([netc.compile(step)(x, dy)[1]] if compiled else [])):
        np.testing.assert_allclose(found, moved.grad.movedim(1, -1).numpy(), atol=2e-5)
    expected = y.detach().movedim(1, -1).numpy()
    for found in (evaluate(graph, [x])[0], *([netc.compile(graph)(x)] if compiled else [])):
        np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("way", range(len(WAYS)), ids=lambda i: WAYS[i][0])
def test_sizes(way: int, tmp_path: Path) -> None:
    call, options = WAYS[way]
    for size in SIZES:
        graph = graph_of(tmp_path, (2, 5, 6, 3), f"size = [{size[0]}, {size[1]}], {call}")
        check(graph, (2, 5, 6, 3), {"size": size, **options}, compiled=size == SIZES[0])


@pytest.mark.parametrize("way", range(len(WAYS)), ids=lambda i: WAYS[i][0])
@pytest.mark.parametrize("scale", [2, 1.7, 0.45])
def test_scales(way: int, scale: float, tmp_path: Path) -> None:
    call, options = WAYS[way]
    if options["mode"] == "area":
        pytest.skip("PyTorch takes the sizes alone")
    graph = graph_of(tmp_path, (1, 5, 6, 33), f"scale = {scale}, {call}")
    check(graph, (1, 5, 6, 33), {"scale_factor": scale, **options})


@pytest.mark.parametrize(("shape", "call", "options"), OTHER_RANKS, ids=lambda v: str(v)[:30])
def test_other_ranks(shape: tuple[int, ...], call: str, options: dict[str, Any], tmp_path: Path) -> None:
    check(graph_of(tmp_path, shape, call), shape, options)


def test_infinities_stay_where_they_are(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 4, 1, 1), "size = [8, 1]")
    x = np.array([1, np.inf, 2, 3], np.float32).reshape(1, 4, 1, 1)
    (found,) = evaluate(run(graph, pipelines.INFERENCE), [x])
    assert found.reshape(-1).tolist() == [1, np.inf, np.inf, np.inf, np.inf, 2.25, 2.75, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("2", r"can't bring"),
        ("size = [2, 2], scale = 2", "takes a size or a scale"),
        ("scale = -1", "above 0"),
        ('scale = 2, mode = "cubik"', "did you mean cubic"),
        ('scale = 2, mode = "trilinear"', "3 spatial dimensions"),
        ('scale = 2, coordinates = "halfpixel"', "did you mean half_pixel"),
        ('scale = 2, mode = "nearest", antialias = true', "antialias goes with"),
    ],
)
def test_refused(call: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NetcError, match=message):
        graph_of(tmp_path, (1, 4, 4, 1) if call != "2" else (4, 4), call)
