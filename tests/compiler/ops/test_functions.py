"""Functions of single elements: accuracy of compiled code, agreement with PyTorch, TFLite there and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.graph.registry import operators
from netc.compiler.ops.functions.erf import erfc_array
from netc.compiler.passes import differentiate
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.writer import to_tflite
from netc.compiler.types import DType, TensorType
from netc.frontend.tflite import graph_of
from netc.runtime.weights import initial_weights

RNG = np.random.default_rng(0)
ARC = {f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
PLAIN = ("expm1", "exp2", "log1p", "log2", "log10", "sinh", "cosh", "sin", "cos", "tan")
REFERENCES = {**{name: getattr(np, name) for name in PLAIN}, **ARC, "softplus": lambda x: np.logaddexp(0, x)}
PAIRS = {"atan2": np.arctan2, "pow": np.power, "fmod": np.fmod}
UNITS = 4.0


def grid(dtype: DType) -> Any:
    """Ordinary numbers, large and small ones, and those near 0 and 1."""
    parts = [
        RNG.standard_normal(3000),
        RNG.uniform(-750, 750, 3000),
        np.exp(RNG.uniform(-80, 80, 3000)) * RNG.choice([-1, 1], 3000),
        1 + RNG.uniform(-1e-3, 1e-3, 999),
        np.arange(-300, 300),
    ]
    return np.concatenate(parts).astype(dtype.numpy)


def units_off(found: Any, exact: Any) -> float:
    """The largest distance in units of the last place."""
    meant = exact.astype(found.dtype)
    same = (found == meant) | (np.isnan(found) & np.isnan(meant))
    size = np.spacing(np.abs(np.where(np.isfinite(meant), meant, 1)))
    with np.errstate(all="ignore"):
        distance = np.where(same, 0, np.abs(found.astype(np.longdouble) - exact) / size)
    return float(np.where(np.isnan(distance), np.inf, distance).max())


def compiled(names: list[str], *arrays: Any) -> list[Any]:
    b = GraphBuilder("g")
    given = [b.input(f"x{i}", TensorType(DType.of(a.dtype), a.shape)) for i, a in enumerate(arrays)]
    outputs = [b.emit(name, *given[: len(operators()[name].operands)]) for name in names]
    return list(netc.compile(b.finish([*outputs, outputs[0]]))(*arrays))[:-1]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="nothing here is more exact than a double")
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_compiled_functions_are_exact(dtype: DType) -> None:
    x = grid(dtype)
    other = RNG.permutation(x)
    wide, wider = (a.astype(np.longdouble) for a in (x, other))
    with np.errstate(all="ignore"):
        for name, found in zip(REFERENCES, compiled(list(REFERENCES), x), strict=True):
            assert units_off(found, REFERENCES[name](wide)) <= UNITS, name
        for name, found in zip(PAIRS, compiled(list(PAIRS), x, other), strict=True):
            assert units_off(found, PAIRS[name](wide, wider)) <= UNITS, name


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_waves_of_huge_doubles_keep_their_digits(name: str) -> None:
    """Also of the double nearest to a multiple of pi / 2, from W. Kahan's search."""
    numbers = np.exp(RNG.uniform(13, 709, 400)) * RNG.choice([-1, 1], 400)
    edges = [1e6, 2.0**52, 1e22, 1e300, -np.finfo(np.float64).max, 6381956970095103.0 * 2.0**797]
    x = np.concatenate([numbers, edges, math.pi / 2 * np.arange(1, 40), 2.0 ** np.arange(20, 1024)])
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(1300):
        exact = np.array([np.longdouble(mpmath.nstr(getattr(mpmath, name)(mpmath.mpf(float(v))), 30)) for v in x])
    (found,) = compiled([name], x)
    assert units_off(found, exact) <= UNITS


def test_sines_of_huge_doubles_are_those_of_the_c_library() -> None:
    x = np.array([1e9, -1e14, 1e18, 1e22, -1e38, 1e100, 1e300, -np.finfo(np.float64).max])
    sines, cosines, tangents = compiled(["sin", "cos", "tan"], x)
    np.testing.assert_allclose(sines, [math.sin(v) for v in x], rtol=1e-15)
    np.testing.assert_allclose(cosines, [math.cos(v) for v in x], rtol=1e-15)
    np.testing.assert_allclose(tangents, [math.tan(v) for v in x], rtol=1e-15)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_small_results_of_the_error_function_keep_their_digits(dtype: DType) -> None:
    x = np.concatenate([RNG.uniform(-7, 9, 4000), RNG.uniform(0, 26, 999), grid(dtype)]).astype(dtype.numpy)
    exact = erfc_array(x.astype(np.float64))  # which C libraries give to a unit or so
    normal = exact.astype(dtype.numpy) >= np.finfo(dtype.numpy).tiny
    (found,) = compiled(["erfc"], x)
    assert units_off(found[normal], exact[normal]) <= 2 * UNITS
    np.testing.assert_allclose(found[~normal], exact[~normal], rtol=0, atol=2 * float(np.finfo(dtype.numpy).tiny))


def test_means_of_halves_are_added_up_in_singles(tmp_path: Path) -> None:
    path = tmp_path / "t.net"
    path.write_text("net t(x: f16[1, 3, 3, 2]) { return avg_pool(x, 2, stride = 1, pad = same) }")
    x = np.full((1, 3, 3, 2), 60000, np.float16)
    (meant,) = evaluate(netc.load(path), [x])
    np.testing.assert_array_equal(meant, x)
    np.testing.assert_array_equal(netc.compile(path, threads=1)(x), x)


def test_gelu_has_no_subnormal_results() -> None:
    """Where the exponential inside would be subnormal, a call took twice as long."""
    x = np.linspace(-16, 16, 4000, dtype=np.float32)
    (found,) = compiled(["gelu"], x)
    exact = x * 0.5 * erfc_array(x.astype(np.float64) * -math.sqrt(0.5))
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-36)
    assert not np.any((found != 0) & (np.abs(found) < np.finfo(np.float32).tiny))


def test_gelu_keeps_the_digits_of_small_results() -> None:
    x = np.concatenate([np.linspace(-4, 8, 9000), RNG.standard_normal(3000) * 1e-3, -RNG.uniform(4, 12.8, 3000)])
    x = x.astype(np.float32)
    (found,) = compiled(["gelu"], x)
    exact = x * 0.5 * erfc_array(x.astype(np.float64) * -math.sqrt(0.5))
    error = np.abs(found - exact) / np.abs(exact)
    assert error[x > -1].max() < 6e-7
    assert error[x > -4].max() < 2e-6
    assert error.max() < 2e-5
    ends = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, -12.9], np.float32)
    np.testing.assert_array_equal(compiled(["gelu"], ends)[0], [np.nan, np.inf, np.nan, np.float32(1e30), 0, 0])


NET = """net t(x: f32[4, 8], y: f32[4, 8]) {
  return [
    where(x > 0, x ** -1.5, (x % 2) ** 2.0), cast(logical_and(x > 0, not (y == 0)), "f32"),
    silu(x), mish(x), selu(x), celu(x, 0.5), softsign(x), hard_tanh(x), hard_shrink(x), soft_shrink(x),
    tanh_shrink(x), threshold(x, 0.1, 2), log_sigmoid(x), relu1(x), glu(x), prelu(x), prelu@p(y, 0.1, shared = true),
    2 ** x, round(x), floor(x), ceil(y), cumulative_sum(x, axis = 1),
  ]
}
"""


def test_the_language_means_what_pytorch_means(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x, y = (RNG.standard_normal((4, 8)).astype(np.float32) for _ in range(2))
    path = tmp_path / "t.net"
    path.write_text(NET)
    graph = netc.load(path)
    a, b, f = torch.tensor(x), torch.tensor(y), torch.nn.functional
    expected = [
        torch.where(a > 0, a**-1.5, torch.remainder(a, 2) ** 2),
        ((a > 0) & (b != 0)).float(),
        *(f.silu(a), f.mish(a), f.selu(a), f.celu(a, 0.5), f.softsign(a), f.hardtanh(a), f.hardshrink(a)),
        *(f.softshrink(a), f.tanhshrink(a), f.threshold(a, 0.1, 2), f.logsigmoid(a), a.clamp(0, 1), f.glu(a)),
        *(f.prelu(a, torch.tensor([0.25])), f.prelu(b, torch.tensor([0.1]))),
        *(2**a, a.round(), a.floor(), b.ceil(), a.cumsum(1)),
    ]
    results = netc.compile(graph, weights=initial_weights(graph, seed=0))(x, y)
    for found, meant in zip(results, expected, strict=True):
        np.testing.assert_allclose(found, meant.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [("0 < x < 1", "can't be chained"), ("if x > 0 then x else x", "a condition is one truth value")],
)
def test_masks_are_no_conditions(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.net"
    path.write_text(f"net t(x: f32[3]) {{ return {text} }}\n")
    with pytest.raises(NetcError, match=message):
        netc.load(path)


KINKS = {
    "relu6": ([0.0, 6.0], "relu6"),
    "hard_swish": ([-3.0, 3.0, 0.0], "hardswish"),
    "hard_sigmoid": ([-3.0, 3.0], "hardsigmoid"),
    "elu": ([0.0], "elu"),
    "leaky_relu": ([0.0], "leaky_relu"),
    "abs": ([0.0], "abs"),
    "floor": ([0.0, 1.5], "floor"),
    "round": ([0.5], "round"),
}


@pytest.mark.parametrize("name", KINKS)
def test_gradients_at_kinks_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    places, theirs = KINKS[name]
    x = torch.tensor(places, dtype=torch.float64, requires_grad=True)
    (getattr(torch, theirs, None) or getattr(torch.nn.functional, theirs))(x).sum().backward()
    b = GraphBuilder("g")
    graph = b.finish([b.emit(name, b.input("x", TensorType(DType.F64, (len(places),))))])
    assert evaluate(differentiate(graph, 0, ["x"]), [np.array(places)])[1].tolist() == x.grad.tolist()


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (0.0, 1.0), (-2.0, 3.0), (2.0, 0.5)])
def test_gradients_of_powers_are_those_of_pytorch(x: float, y: float) -> None:
    torch = pytest.importorskip("torch")
    a, c = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (x, y))
    (a**c).sum().backward()
    b = GraphBuilder("g")
    one = TensorType(DType.F64, (1,))
    graph = b.finish([b.emit("pow", b.input("a", one), b.input("b", one))])
    _, da, db = evaluate(differentiate(graph, 0, ["a", "b"]), [np.array([x]), np.array([y])])
    np.testing.assert_allclose([*da, *db], [*a.grad.tolist(), *c.grad.tolist()])


def test_clamp_passes_gradients_at_its_bounds_and_relu6_does_not() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([-2, -1, 0, 1, 2, 6, 7], np.float32)
    for name, theirs, given in (("clamp", lambda t: t.clamp(-1, 2), (-1, 2)), ("relu6", torch.nn.functional.relu6, ())):
        t = torch.tensor(x, requires_grad=True)
        theirs(t).sum().backward()
        b = GraphBuilder("g")
        y = b.emit(name, b.input("x", TensorType(DType.F32, (7,))), **dict(zip(("low", "high"), given, strict=False)))
        gradient = differentiate(b.finish([b.emit("reduce_sum", y)]), 0, ["x"])
        np.testing.assert_array_equal(evaluate(gradient, [x])[1], t.grad.numpy())


WRITTEN = (
    "floor",
    "ceil",
    "round",
    "square",
    "rsqrt",
    "asin",
    "atan",
    "sinh",
    "log1p",
    "exp2",
    "tan",
    "trunc",
    "isnan",
)


@pytest.mark.parametrize("name", [*WRITTEN, "atan2", "pow", "floor_mod", "squared_difference", "cumulative_sum"])
def test_files_hold_the_functions(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    operator = operators()[name]
    b = GraphBuilder("g")
    arrays = [RNG.uniform(0.1, 0.9, (3, 4)).astype(np.float32) for _ in operator.operands]
    given = [b.input(f"x{i}", TensorType(DType.F32, (3, 4))) for i in range(len(arrays))]
    graph = b.finish([b.emit(name, *given)])
    (meant,) = evaluate(graph, arrays)
    data = to_tflite(graph)
    (read,) = evaluate(graph_of(read_model(data), "g"), arrays)
    interpreter = litert.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], arrays[int(detail["name"][1:].split(":")[0])])
    interpreter.invoke()
    theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for found in (read, theirs):
        np.testing.assert_allclose(found, meant, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (64,)], ids=str)
def test_truth_is_looked_up(shape: tuple[int, ...]) -> None:
    """Instructions pick bytes from tables, but not truth values."""
    table = np.arange(256) % 3 == 0
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.I8, shape))
    graph = b.finish([b.emit("lookup", x, b.constant(table))])
    values = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    with netc.compile(graph, threads=1) as program:
        np.testing.assert_array_equal(program(values), table[values.astype(np.int64) + 128])
