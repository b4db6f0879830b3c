"""Fake quantization means quantizing and dequantizing, bit for bit; its gradient is the straight-through one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import ShapeError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import decompose, differentiate
from netc.compiler.quantization.methods import Range
from netc.compiler.quantization.scales import activation_scale, weight_scale, weight_to_integers
from netc.compiler.types import DType, Quantization, TensorType

Floats = NDArray[Any]

RANGES = [(-1.0, 1.0), (0.0, 6.0), (-0.3, 2.71), (0.5, 3.0), (-4.0, -1.0), (0.0, 0.0), (-1e-3, 5e4)]


def fake(shape: tuple[int, ...], channels: tuple[int, ...] = (), dtype: DType = DType.F32, **attributes: Any) -> Graph:
    b = GraphBuilder("fake")
    x = b.input("x", TensorType(dtype, shape))
    low, high = (b.input(name, TensorType(dtype, channels)) for name in ("low", "high"))
    return b.finish([b.emit("fake_quantize", x, low, high, **attributes)])


def numbers(low: float, high: float) -> NDArray[np.float32]:
    """Numbers in and around a range, among them many half-way between two steps."""
    rng = np.random.default_rng(3)
    width = max(high, 0.0) - min(low, 0.0) or 1.0
    random = rng.uniform(min(low, 0) - 0.2 * width, max(high, 0) + 0.2 * width, 2000)
    halves = (np.arange(-300, 300) + 0.5) * width / 255
    return np.concatenate([random, halves, [0.0]]).astype(np.float32)


def integers_and_back(x: NDArray[np.float32], given: Quantization) -> Floats:
    b = GraphBuilder("integers")
    value = b.input("x", TensorType(DType.F32, x.shape))
    (result,) = evaluate(b.finish([b.emit("dequantize", b.emit("quantize", value, dtype="i8", y=given), x=given)]), [x])
    return result


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_meaning_is_that_of_integers(low: float, high: float) -> None:
    x = numbers(low, high)
    ends = [np.float32(low), np.float32(high)]
    wanted = integers_and_back(x, activation_scale(Range(float(ends[0]), float(ends[1]))))
    graph = fake(x.shape)
    for each in (graph, decompose(graph)):
        (got,) = evaluate(each, [x, *(np.array(e) for e in ends)])
        np.testing.assert_array_equal(got, wanted)


def test_random_ranges_have_the_grid_of_integers() -> None:
    rng = np.random.default_rng(0)
    graph = fake((200,))
    for low, high in rng.standard_normal((100, 2)).astype(np.float32) * 3:
        x = (rng.standard_normal(200) * 3).astype(np.float32)
        wanted = integers_and_back(x, activation_scale(Range(float(low), float(high))))
        np.testing.assert_array_equal(evaluate(graph, [x, np.array(low), np.array(high)])[0], wanted)


def test_symmetric_ranges_have_the_grid_of_weights() -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((3, 3, 4, 16)).astype(np.float32) * np.geomspace(0.01, 10, 16, dtype=np.float32)
    limit = np.abs(weight).max(axis=(0, 1, 2))
    (got,) = evaluate(fake(weight.shape, (16,), lowest=-127), [weight, -limit, limit])
    given = weight_scale(weight, None, Quantization.of(1), Quantization.of(1), per_channel=True)
    integers = weight_to_integers(weight, given).astype(np.float32)
    np.testing.assert_array_equal(got, integers * np.array(given.scales, np.float32))


LOW, HIGH = -0.5, 1.5


def gradients(x: Floats, dy: Floats, low: Any = LOW, high: Any = HIGH, **attributes: Any) -> list[Floats]:
    """Cotangents of x, low and high by the rule."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    b = GraphBuilder("loss")
    b.input("x", TensorType(DType.F64, x.shape))
    for name in ("low", "high"):
        b.input(name, TensorType(DType.F64, low.shape))
    (y,) = b.inline(fake(x.shape, low.shape, DType.F64, **attributes), b.inputs)
    loss = b.finish([b.emit("reduce_sum", b.emit("mul", y, b.constant(dy)))])
    return list(evaluate(differentiate(loss, 0, ["x", "low", "high"]), [x, low, high])[1:])


def test_gradient_is_straight_through_inside_the_range() -> None:
    rng = np.random.default_rng(2)
    x, dy = rng.uniform(-1, 2, (50, 4)), rng.standard_normal((50, 4))
    dx, dlow, dhigh = gradients(x, dy)
    scale = (HIGH - LOW) / 255
    zero_point = np.rint(-128 - LOW / scale)
    bottom, top = scale * (-128 - zero_point), scale * (127 - zero_point)
    inside = (x >= bottom) & (x <= top)
    error = (np.rint(x / scale) - x / scale) / 255
    np.testing.assert_array_equal(dx, np.where(inside, dy, 0))
    assert dhigh == pytest.approx(float((dy * np.where(x > top, 1, np.where(inside, error, 0))).sum()))
    assert dlow == pytest.approx(float((dy * np.where(x < bottom, 1, np.where(inside, -error, 0))).sum()))
    assert 0 < inside.mean() < 1


def test_ends_of_saturated_elements_move_as_differences_show() -> None:
    """Where everything saturates, the result is an end of the grid, which follows the range but for its rounding."""
    x = np.array([-1e6, -2e6, 1e6])
    dy = np.array([0.5, 1.0, 3.0])
    graph = fake(x.shape, (), DType.F64)

    def loss(low: float, high: float) -> float:
        return float((evaluate(graph, [x, np.array(low), np.array(high)])[0] * dy).sum())

    far = 200.0  # hundreds of steps, so that the rounding of the zero point hardly counts
    _, dlow, dhigh = gradients(x, dy)
    assert dhigh == pytest.approx((loss(LOW, HIGH + far) - loss(LOW, HIGH)) / far, rel=0.02)
    assert dlow == pytest.approx((loss(LOW, HIGH) - loss(LOW - far, HIGH)) / far, rel=0.02)


def test_each_channel_has_its_gradient() -> None:
    x, dy = np.array([[3.0, 0.2, -9.0]]), np.array([[2.0, 4.0, 8.0]])
    low, high = np.full(3, -1.0), np.full(3, 1.0)
    dx, dlow, dhigh = gradients(x, dy, low, high, lowest=-127)
    assert dx.tolist() == [[0, 4, 0]]
    assert (dhigh[0], dlow[2]) == (2, 8)
    assert abs(dhigh[1]) <= 4 * 0.5 / 254


def test_ends_that_zero_takes_the_place_of_have_no_gradient() -> None:
    x, dy = np.array([-1.0, 0.21, 5.0]), np.ones(3)
    assert gradients(x, dy, low=0.0)[1] == 0
    assert gradients(x, dy, low=0.3)[1] == 0
    assert gradients(-x, dy, low=-1, high=0.0)[2] == 0


def test_gradients_of_ranges_are_scaled() -> None:
    x, dy = np.array([-1.0, 0.21, 5.0]), np.ones(3)
    plain, small = gradients(x, dy), gradients(x, dy, gradient_scale=0.125)
    np.testing.assert_allclose([small[1], small[2]], [plain[1] / 8, plain[2] / 8])
    np.testing.assert_array_equal(small[0], plain[0])


@pytest.mark.parametrize(
    ("shape", "channels", "attributes", "message"),
    [
        ((2, 3), (2,), {}, "one for each channel"),
        ((2, 3), (1,), {}, "one for each channel"),
        ((2, 3), (), {"lowest": 5, "highest": 5}, "nothing from 5 to 5"),
    ],
)
def test_what_does_not_fit(
    shape: tuple[int, ...], channels: tuple[int, ...], attributes: dict[str, int], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        fake(shape, channels, **attributes)


def test_integers_are_refused() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.I32, ()))
    with pytest.raises(ShapeError, match="takes floats of one type"):
        b.emit("fake_quantize", x, x, x)
