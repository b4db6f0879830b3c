"""Pooling layers against PyTorch: incomplete windows, counted padding, results of a given size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes import differentiate
from netc.compiler.training import training_step
from netc.compiler.types import DType, TensorType

RNG = np.random.default_rng(0)


def pooled(path: Path, call: str, *arrays: Any) -> Any:
    """What a net gives whose body is one call, on x or on x and y."""
    names = ", ".join(f"{n}: f32{list(a.shape)}" for n, a in zip("xy", arrays, strict=False))
    path.write_text(f"net a({names}) {{ return {call} }}", encoding="utf-8")
    return evaluate(netc.load(str(path)), arrays, {})[0]


def outer(torch: Any, x: Any) -> Any:
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize("spatial", [(7,), (6, 5), (4, 5, 6)])
def test_windows(spatial: tuple[int, ...], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, *spatial, 3), np.float32)
    kinds = {k: getattr(torch.nn.functional, f"{k}_pool{len(spatial)}d") for k in ("max", "avg")}
    for size, stride, pad, ceil, count in itertools.product((2, 3), (1, 2, 3), (0, 1), (False, True), (False, True)):
        options = f"{size}, {stride}, {pad}, ceil = {str(ceil).lower()}"
        found = pooled(tmp_path / "a.net", f"avg_pool(x, {options}, count_padding = {str(count).lower()})", x)
        expected = kinds["avg"](outer(torch, x), size, stride, pad, ceil, count).movedim(1, -1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=options)
        if count:
            found = pooled(tmp_path / "a.net", f"max_pool(x, {options})", x)
            expected = kinds["max"](outer(torch, x), size, stride, pad, 1, ceil).movedim(1, -1).numpy()
            np.testing.assert_array_equal(found, expected, err_msg=options)


@pytest.mark.parametrize(("extent", "size"), [(5, 3), (7, 7), (10, 5), (3, 7), (6, 1)])
def test_adaptive(extent: int, size: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, extent, 6, 3), np.float32)
    for kind in ("avg", "max"):
        found = pooled(tmp_path / "a.net", f"adaptive_{kind}_pool(x, [{size}, 4])", x)
        function = getattr(torch.nn.functional, f"adaptive_{kind}_pool2d")
        np.testing.assert_allclose(found, function(outer(torch, x), (size, 4)).movedim(1, -1).numpy(), atol=1e-6)


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_lp_pool(p: float, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, 9, 8, 3), np.float32)
    found = pooled(tmp_path / "a.net", f"lp_pool(x, 3, p = {p}, stride = 2, ceil = true)", x)
    expected = torch.nn.functional.lp_pool2d(outer(torch, np.abs(x)), p, 3, 2, True).movedim(1, -1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_max_unpool(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, 9, 8, 3), np.float32)
    values, indices = torch.nn.functional.max_pool2d(outer(torch, x), 2, return_indices=True)
    expected = torch.nn.functional.max_unpool2d(2 * values, indices, 2, output_size=(9, 8)).movedim(1, -1).numpy()
    np.testing.assert_array_equal(pooled(tmp_path / "a.net", "max_unpool(2 * max_pool(x, 2), x, 2)", x), expected)


def gradient_of(path: Path, call: str, x: Any) -> Any:
    """The gradient, for x, of the sum of what a call gives."""
    path.write_text(f"net a(x: f32{list(x.shape)}) {{ return {call} |> reduce_sum }}", encoding="utf-8")
    return evaluate(differentiate(netc.load(str(path)), 0, ["x"]), [x], {})[1]


def test_gradient_of_max_unpool(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, 9, 8, 3), np.float32)
    there = outer(torch, x).requires_grad_()
    values, indices = torch.nn.functional.max_pool2d(there, 2, return_indices=True)
    y = torch.nn.functional.max_unpool2d(values * values, indices, 2, output_size=(9, 8))
    (y * y).sum().backward()
    call = "square(max_unpool(square(max_pool(x, 2)), x, 2))"
    np.testing.assert_allclose(
        gradient_of(tmp_path / "a.net", call, x), there.grad.movedim(1, -1).numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("p", [2, 3.5])
def test_gradient_of_lp_pool_where_all_is_zero(p: float, tmp_path: Path) -> None:
    x = RNG.standard_normal((1, 4, 4, 1), np.float32)
    x[:, :2, :2], x[:, 3, 3] = 0, 0
    found = gradient_of(tmp_path / "a.net", f"lp_pool(x, 2, p = {p})", x)
    norms = (np.abs(x) ** p).reshape(2, 2, 2, 2).sum(axis=(1, 3)).repeat(2, 0).repeat(2, 1)[..., np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(norms > 0, norms ** (1 / p - 1) * np.abs(x) ** (p - 1) * np.sign(x), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.isnan(pooled(tmp_path / "a.net", f"lp_pool(x, 2, p = {p})", x * np.nan)).all()


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("3, stride = 1, dilation = 2", (3, 1, 0, 2, False)),
        ("3, stride = 2, pad = 1, dilation = [1, 3]", (3, 2, 1, (1, 3), False)),
        ("2, stride = [3, 2], pad = 1, dilation = 2, ceil = true", (2, (3, 2), 1, 2, True)),
        ("2, stride = [9, 1], dilation = 4", (2, (9, 1), 0, 4, False)),
        ("2, stride = 8, dilation = 5, ceil = true", (2, 8, 0, 5, True)),
    ],
)
def test_dilated_max_pool(options: str, arguments: tuple[Any, ...], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.integers(-9, 3, (2, 9, 11, 3)).astype(np.float32)
    there = outer(torch, x).requires_grad_()
    expected = torch.nn.functional.max_pool2d(there, *arguments)
    (expected * expected).sum().backward()
    call = f"max_pool(x, {options})"
    np.testing.assert_array_equal(pooled(tmp_path / "a.net", call, x), expected.detach().movedim(1, -1).numpy())
    found = gradient_of(tmp_path / "a.net", f"square({call})", x)
    np.testing.assert_array_equal(found, there.grad.movedim(1, -1).numpy())


@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2)])
def test_gradient_of_products(axes: tuple[int, ...], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((3, 5, 7)).astype(np.float32)
    x[0, 1, 2] = x[1, 2, 3] = x[1, 4, 3] = x[2, 0, 0] = 0
    there = torch.tensor(x, requires_grad=True)
    product = there
    for axis in reversed(axes):
        product = product.prod(dim=axis)
    (product * product + product).sum().backward()
    call = f"reduce_prod(x, axes = {list(axes)})"
    found = gradient_of(tmp_path / "a.net", f"(square({call}) + {call})", x)
    np.testing.assert_allclose(found, there.grad.numpy(), rtol=1e-4, atol=1e-12)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (400, 400)))
    ones = b.emit("param", shape=(400,), init="ones", name="w")
    graph = b.finish([b.emit("mul", b.emit("alpha_dropout", x, rate=0.3), ones)])
    step = training_step(graph, loss="mean_squared_error", optimizer="sgd(lr = 1)")
    replaced = [op for op in step.operations if op.name == "select" and op.result.type.shape == (400, 400)]
    low = -1.0507009873554805 * 1.6732632423543772
    factor = (0.7 * (1 + 0.3 * low**2)) ** -0.5
    assert replaced, "nothing is dropped"
    numbers = {
        float(op.attributes["value"]) for op in step.operations if op.name == "constant" and not op.result.type.shape
    }
    for number in (factor, factor * low * 0.7, -factor * low * 0.3):
        assert min(abs(number - n) for n in numbers) < 1e-6
    # Of the mean 0 and the variance 1 they make the same again.
    mean = 0.3 * (factor * low * 0.7) + 0.7 * (-factor * low * 0.3)
    variance = 0.3 * (factor * low * 0.7) ** 2 + 0.7 * (factor**2 + (factor * low * 0.3) ** 2)
    np.testing.assert_allclose([mean, variance], [0, 1], atol=1e-12)


def test_global_max_pool(tmp_path: Path) -> None:
    x = RNG.standard_normal((2, 9, 8, 3), np.float32)
    np.testing.assert_array_equal(pooled(tmp_path / "a.net", "global_max_pool(x)", x), x.max(axis=(1, 2)))


@pytest.mark.parametrize("shared", [(), (1, 2), (1, 2, 3)], ids=["elements", "channels", "samples"])
def test_what_is_dropped_together(shared: tuple[int, ...]) -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (16, 4, 4, 8)))
    weight = b.emit("param", shape=(8,), init="ones", name="w")
    graph = b.finish([b.emit("mul", b.emit("dropout", x, rate=0.25, shared=shared), weight)])
    step = training_step(graph, loss="mean_squared_error", optimizer="sgd(lr = 1)")
    drawn = next(op.result for op in step.operations if op.name == "random_uniform").type.shape
    assert drawn == tuple(1 if d in shared else s for d, s in enumerate((16, 4, 4, 8)))


def test_top_k_gives_two_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text("net a(x: f32[2, 5]) { (values, places) = top_k(x, 2)\n return values, places }", encoding="utf-8")
    x = RNG.standard_normal((2, 5), np.float32)
    values, places = netc.compile(netc.load(str(path)))(x)
    np.testing.assert_array_equal(places, np.argsort(-x, axis=1)[:, :2])
    np.testing.assert_array_equal(values, np.take_along_axis(x, places, 1))


@pytest.mark.parametrize("correction", [0, 1])
def test_variance(correction: int, tmp_path: Path) -> None:
    x = RNG.standard_normal((2, 9, 8, 3), np.float32)
    found = pooled(tmp_path / "a.net", f"standard_deviation(x, axes = [1, 2], correction = {correction})", x)
    np.testing.assert_allclose(found, x.std(axis=(1, 2), ddof=correction), rtol=1e-5)
