"""Networks with fake quantization against the networks of integers that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Operation
from netc.compiler.quantization import FakeQuantized, Ranges, Scheme, fake_quantize, prepare
from netc.compiler.quantization.calibration import Calibration, observation_graph
from netc.compiler.training import training_step
from netc.compiler.types import DType, TensorType
from tests.quantized_nets import NETS, PICTURE, Net, calibrated

Arrays = Mapping[str, NDArray[Any]]

IN_INTEGERS = {name: net for name, net in NETS.items() if not net.scheme.allow_float}


def ranges_of(net: Net) -> Ranges:
    return calibrated(net.graph(), net.samples())[1].ranges("minmax")


def operations(fake: FakeQuantized, name: str) -> list[Operation]:
    return [op for op in fake.graph.operations if op.name == name]


@pytest.mark.parametrize("name", IN_INTEGERS)
def test_integers_agree_with_fake_quantization(name: str) -> None:
    """They differ by roundings only: at most by two steps of the output's scale, and mostly by none."""
    net = IN_INTEGERS[name]
    fake, ranges, x = fake_quantize(net.graph(), scheme=net.scheme), ranges_of(net), net.samples()
    (floats,) = evaluate(fake.graph, [x], fake.values(ranges))
    integers = fake.integers({}, ranges, edges=DType.F32)
    (numbers,) = evaluate(integers, [x])
    output = integers.producers[integers.outputs[0]]
    steps = np.abs(floats - numbers) / output.attributes["x"].scale
    assert steps.max() < 2.01
    assert (steps > 0.01).mean() < 0.3


@pytest.mark.parametrize("name", IN_INTEGERS)
def test_ranges_come_back(name: str) -> None:
    net = IN_INTEGERS[name]
    fake, ranges = fake_quantize(net.graph(), scheme=net.scheme), ranges_of(net)
    back = fake.ranges(fake.values(ranges), "moving", 7)
    assert (back.method, back.samples) == ("moving", 7)
    assert back.ranges.keys() == ranges.ranges.keys()
    once, twice = (fake.integers({}, r) for r in (ranges, back))
    assert str(once) == str(twice)


def test_the_edges_of_the_scheme() -> None:
    net = Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 8, 4))
    fake, ranges = fake_quantize(net.graph()), ranges_of(net)
    integers = fake.integers({}, ranges, edges=DType.U8)
    assert [v.type.dtype for v in (*integers.inputs, *integers.outputs)] == [DType.U8, DType.U8]


@pytest.mark.parametrize(
    ("name", "count"),
    [("conv", 3), ("max_pool, padded", 1), ("avg_pool", 2), ("concat", 4), ("moved", 1), ("pad", 2), ("swish", 3)],
)
def test_values_on_one_grid_are_rounded_once(name: str, count: int) -> None:
    """The input, weights, results; but not what has only elements of an operand that was rounded."""
    assert len(operations(fake_quantize(NETS[name].graph()), "fake_quantize")) == count


def test_shared_scales_are_one_parameter() -> None:
    fake = fake_quantize(NETS["avg_pool"].graph())
    pool, whole = (op for op in operations(fake, "fake_quantize"))
    assert pool.operands[1:] == whole.operands[1:]
    assert sorted(op.attributes["momentum"] for op in (pool, whole)) == [0, 0.01]  # what follows doesn't decide


def test_softmax_has_the_scale_that_the_specification_demands() -> None:
    fake = fake_quantize(NETS["softmax"].graph())
    low, high = (fake.graph.producers[v] for v in operations(fake, "fake_quantize")[-1].operands[1:])
    assert (low.attributes["value"], high.attributes["value"]) == (0, np.float32(255 / 256))


@pytest.mark.parametrize(
    ("name", "scheme", "shape"),
    [
        ("conv", Scheme(), (16,)),
        ("conv", Scheme(per_channel=False), ()),
        ("dense", Scheme(), ()),
        ("dense", Scheme(dense_channels=True), (24,)),
    ],
)
def test_weights_have_grids_of_the_scheme(name: str, scheme: Scheme, shape: tuple[int, ...]) -> None:
    fake = fake_quantize(NETS[name].graph(), scheme=scheme)
    (weight,) = (op for op in operations(fake, "fake_quantize") if op.attributes["lowest"] == -127)
    assert weight.operands[2].type.shape == shape


def with_batch_norm() -> Graph:
    """Two convolutions with batch normalisation and a residual sum, then a dense layer, all trained."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (4, 6, 6, 3)))

    def unit(x: Any, name: str, filters: int) -> Any:
        weight = b.emit("param", name=f"{name}.weight", shape=(3, 3, x.type.shape[-1], filters), init="he_normal")
        y = b.emit("conv2d", x, weight, strides=(1, 1), padding="same", dilations=(1, 1))
        kinds = {"weight": ("ones", True), "bias": ("zeros", True), "mean": ("zeros", False), "var": ("ones", False)}
        norm = (
            b.emit("param", name=f"{name}.bn.{kind}", shape=(filters,), init=init, trainable=trainable)
            for kind, (init, trainable) in kinds.items()
        )
        return b.emit("relu", b.emit("batch_norm", y, *norm))

    y = unit(x, "a", 8)
    y = b.emit("dropout", b.emit("add", y, unit(y, "b", 8)), rate=0.5)
    weight, bias = b.emit("param", name="fc.weight", shape=(288, 3)), b.emit("param", name="fc.bias", shape=(3,))
    return b.finish([b.emit("dense", b.emit("reshape", y, shape=(4, 288)), weight, bias)])


def parameters(graph: Graph) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    arrays = {op.result.name or "": rng.standard_normal(op.result.type.shape) * 0.2 for op in graph.parameters}
    changed = {name: np.abs(array) + 0.5 if "var" in name else array for name, array in arrays.items()}
    return {name: array.astype(np.float32) for name, array in changed.items()}


def zeros(graph: Graph) -> dict[str, NDArray[Any]]:
    return {op.result.name or "": np.zeros(op.result.type.shape, op.result.type.dtype.numpy) for op in graph.parameters}


def start(graph: Graph, params: Arrays, x: NDArray[np.float32]) -> Ranges:
    prepared = prepare(graph, params)
    calibration = Calibration(prepared)
    calibration.add([x], evaluate(observation_graph(prepared), [x]))
    return calibration.ranges("minmax")


SAMPLES = np.random.default_rng(1).standard_normal((4, 6, 6, 3)).astype(np.float32)


def test_batch_norm_is_folded_by_operations_on_its_parameters() -> None:
    graph = with_batch_norm()
    params = parameters(graph)
    fake = fake_quantize(graph)
    names = {op.result.name for op in fake.graph.parameters if not (op.result.name or "").startswith("ranges.")}
    assert names == params.keys()
    assert not operations(fake, "batch_norm")
    ranges = start(graph, params, SAMPLES)
    (wanted,) = evaluate(graph, [SAMPLES], params)
    (got,) = evaluate(fake.graph, [SAMPLES], {**params, **fake.values(ranges)})
    np.testing.assert_allclose(got, wanted, atol=0.02 * np.abs(wanted).max())
    assert np.abs(got - wanted).max() > 0
    (numbers,) = evaluate(fake.integers(params, ranges, edges=DType.F32), [SAMPLES])
    assert np.abs(numbers - got).max() < 2.01 * (ranges["fc/dense"].high - ranges["fc/dense"].low) / 255


def step(graph: Graph, fake: FakeQuantized, params: Arrays, ranges: Ranges) -> tuple[Arrays, Arrays]:
    """The state before and after a training step."""
    training = training_step(fake.graph, loss="softmax_cross_entropy", optimizer="sgd(lr=0.1)")
    state = zeros(training) | {**params, **fake.values(ranges)}
    results = evaluate(training, [SAMPLES, np.array([0, 1, 2, 0], np.int32)], state)
    metrics, updates = training.attributes["metrics"], training.attributes["updates"]
    return state, dict(zip(updates, results[len(metrics) :], strict=True))


def test_moving_ranges_follow_the_batches() -> None:
    graph = with_batch_norm()
    params, fake = parameters(graph), fake_quantize(graph)
    ranges = start(graph, params, SAMPLES / 2)
    old, new = step(graph, fake, params, ranges)
    for end, extreme in (("low", SAMPLES.min()), ("high", SAMPLES.max())):
        name = f"ranges.x.{end}"
        assert new[name] == pytest.approx(0.99 * old[name] + 0.01 * extreme, rel=1e-5)
    assert new["ranges.a/relu.high"] > old["ranges.a/relu.high"]
    assert new["a.weight"].tolist() != old["a.weight"].tolist()
    assert not {name for name in new if name.endswith((".mean", ".var"))}


def test_learned_ranges_are_trained() -> None:
    graph = with_batch_norm()
    params, fake = parameters(graph), fake_quantize(graph, learned=True)
    old, new = step(graph, fake, params, start(graph, params, SAMPLES / 2))
    moved = {name for name in new if name.startswith("ranges.") and new[name] != old[name]}
    assert {"ranges.a/relu.high", "ranges.fc/dense.low", "ranges.fc/dense.high"} <= moved
    assert "ranges.a/relu.low" not in moved


def test_a_shared_range_covers_all_that_share_it() -> None:
    """The operands of concat that nothing else reads."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (2, 4)))
    weight = b.emit("param", name="fc.weight", shape=(4, 4))
    y = b.emit("dense", x, weight)
    parts = (b.emit("relu", y), b.emit("add", y, y))
    graph = b.finish([b.emit("concat", *parts, axis=-1)])
    params = {"fc.weight": np.eye(4, dtype=np.float32)}
    sample = np.array([[-1, 0, 2, 3], [1, -4, 0, 0]], np.float32)
    fake = fake_quantize(graph)
    ranges = start(graph, params, sample)
    (name,) = (n for n in fake.values(ranges) if n.endswith("relu.high"))
    training = training_step(fake.graph, loss="mean_squared_error", optimizer="sgd(lr=0.0)")
    state = zeros(training) | params
    state["ranges.x.low"], state["ranges.x.high"] = np.float32(-4), np.float32(3)
    state["ranges.fc/dense.low"], state["ranges.fc/dense.high"] = np.float32(-4), np.float32(3)
    results = evaluate(training, [sample, np.zeros((2, 8), np.float32)], state)
    new = dict(zip(training.attributes["updates"], results[len(training.attributes["metrics"]) :], strict=True))
    low, high = new[name.replace(".high", ".low")], new[name]
    assert (low, high) == (pytest.approx(-0.08, rel=0.02), pytest.approx(0.06, rel=0.02))


def test_names_are_those_of_quantize() -> None:
    graph = with_batch_norm()
    params = parameters(graph)
    fake, ranges = fake_quantize(graph), start(graph, params, SAMPLES)
    assert fake.ranges(fake.values(ranges), "", 0).ranges.keys() == ranges.ranges.keys()


def test_operators_without_an_integer_form_are_refused() -> None:
    graph = Net(PICTURE, lambda n, x: n.b.emit("cos", x)).graph()
    with pytest.raises(NetcError, match=r"cos .* has no integer form"):
        fake_quantize(graph)
    with pytest.raises(NetcError, match="can't keep parts of a network in floats"):
        fake_quantize(graph, scheme=Scheme(allow_float=True))
