"""The training step: state, options, metrics and the seam for several machines; compiled, it does the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import lower
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.graph.verifier import verify
from netc.compiler.passes import differentiate, run
from netc.compiler.training import GraphLoss, Shared, loss_graph, training_step
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

from .small_net import SHAPES, Array, Training, batches, initial_state, small_net

STATISTICS = ("bn.running_mean", "bn.running_var")
SETTINGS: dict[str, Any] = {"loss": "softmax_cross_entropy", "optimizer": "sgd(lr=0.5)"}


def train(graph: Graph | None = None, **options: Any) -> Training:
    step = training_step(graph or small_net(), **{**SETTINGS, **options})
    verify(step)
    return Training(step)


def test_interface() -> None:
    step = training_step(small_net(), **SETTINGS)
    assert [v.name for v in step.inputs] == ["x", "labels"]
    assert step.inputs[1].type == TensorType(DType.I32, (8,))
    assert step.attributes["metrics"] == ("loss", "correct", "learning_rate")
    assert set(step.attributes["updates"]) == {*SHAPES, "bn.running_mean", "bn.running_var", "optimizer.step"}
    types = {op.result.name: op.result.type for op in step.parameters}
    new = step.outputs[len(step.attributes["metrics"]) :]
    assert [v.type for v in new] == [types[n] for n in step.attributes["updates"]]
    assert str(parse_graph(str(step))) == str(step)


def test_loss_graph() -> None:
    graph = loss_graph(small_net(), loss="softmax_cross_entropy")
    assert graph.attributes["metrics"] == ("loss", "correct")
    assert {op.result.name for op in graph.parameters} == set(SHAPES)
    state = initial_state(graph)
    x, labels = next(batches())
    differentiated = differentiate(graph, "0", ["fc2.bias"])
    assert str(differentiate(graph, "loss", ["fc2.bias"])) == str(differentiated)
    loss, *_, gradient = evaluate(differentiated, [x, labels], state)
    training = train()
    assert loss == training(x, labels)["loss"]
    np.testing.assert_allclose(training.state["fc2.bias"], state["fc2.bias"] - 0.5 * gradient, rtol=1e-12)


def test_slots_are_not_trainable() -> None:
    step = training_step(small_net(), **{**SETTINGS, "optimizer": "rmsprop(lr=0.1)"}, ema=0.9, accumulate=2)
    added = {op.result.name: op.attributes for op in step.parameters if op.result.name not in SHAPES}
    assert not any(a["trainable"] for a in added.values())
    assert added["optimizer.square.fc1.weight"]["init"] == "ones"
    expected = {"optimizer.step", "optimizer.micro_step", "bn.running_mean", "bn.running_var"}
    for kind in ("optimizer.square", "optimizer.momentum", "optimizer.gradient", "ema"):
        expected |= {f"{kind}.{name}" for name in SHAPES}
    assert set(added) == expected | {"ema.bn.running_mean", "ema.bn.running_var"}


def test_metrics() -> None:
    training = train(schedule="exponential(gamma=0.25)", steps_per_epoch=2, clip_norm=1e-3)
    assert training.step.attributes["metrics"] == ("loss", "correct", "learning_rate", "gradient_norm")
    before = dict(training.state)
    (x, labels), (x2, labels2), *_ = batches()
    first = training(x, labels)
    assert first["learning_rate"] == 0.5
    assert first["correct"] == round(float(first["correct"])) <= 8
    moved = np.sqrt(sum(float(((training.state[n] - before[n]) ** 2).sum()) for n in SHAPES))
    assert moved == pytest.approx(0.5 * 1e-3 * first["gradient_norm"] / (first["gradient_norm"] + 1e-6))
    assert training(x2, labels2)["learning_rate"] == pytest.approx(0.25)
    assert training.state["optimizer.step"] == 2


def test_correct_counts_right_predictions() -> None:
    b = GraphBuilder("scores")
    x = b.input("x", TensorType(DType.F64, (4, 3)))
    scale = b.emit("param", shape=(1,), dtype="f64", name="fc1.bias")
    training = train(b.finish([b.emit("mul", x, scale)]))
    training.state["fc1.bias"] = np.ones(1)
    scores = np.array([[1, 5, 2], [9, 1, 1], [0, 0, 1], [3, 2, 1]], np.float64)
    assert training(scores, np.array([1, 0, 0, 0], np.int32))["correct"] == 3


@pytest.mark.parametrize(("loss", "labels"), [("hinge", (1, -1, -1, 1)), ("sigmoid_cross_entropy", (1, 0, 0, 1))])
def test_correct_counts_right_signs(loss: str, labels: tuple[int, ...]) -> None:
    b = GraphBuilder("perceptron")
    x = b.input("x", TensorType(DType.F64, (4, 1)))
    training = train(b.finish([b.emit("mul", x, b.emit("param", shape=(1,), dtype="f64", name="fc1.bias"))]), loss=loss)
    training.state["fc1.bias"] = np.ones(1)
    assert training.step.inputs[1].type == TensorType(DType.F64, (4,))
    assert training(np.array([[2.0], [-1], [3], [0.5]]), np.array(labels, np.float64))["correct"] == 3


def test_mean_squared_error_counts_nothing() -> None:
    assert train(loss="mean_squared_error").step.attributes["metrics"] == ("loss", "learning_rate")


def test_decay_of_weights_only() -> None:
    every = train(optimizer="sgd(lr=0.1, weight_decay=0.5)")
    weights = train(optimizer="sgd(lr=0.1, weight_decay=0.5)", decay="weights")
    none = train(optimizer="sgd(lr=0.1)")
    for training in (every, weights, none):
        training(*next(batches()))
    for name, shape in SHAPES.items():
        same = none if len(shape) == 1 else every
        np.testing.assert_array_equal(weights.state[name], same.state[name])
        assert not np.allclose(every.state[name], none.state[name])


OPTIMIZERS = ["sgd(lr=0.5, momentum=0.9, weight_decay=0.1)", "adamw(lr=0.1, weight_decay=0.5)", "muon(lr=0.1)"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_parameters_stay_to_the_bit(optimizer: str) -> None:
    training = train(optimizer=optimizer, ema=0.5, accumulate=2, clip_norm=1.0, freeze=("fc1.*", "bn.*"))
    frozen = {n: v for n, v in training.state.items() if n.startswith(("fc1.", "bn."))}
    assert len(frozen) == 6
    for x, labels in batches():
        training(x, labels)
    for name, value in frozen.items():
        np.testing.assert_array_equal(training.state[name], value)
    assert not np.array_equal(training.state["fc2.weight"], initial_state(training.step)["fc2.weight"])
    assert not [n for n in training.state if n.startswith(("optimizer.", "ema.")) and ("fc1" in n or "bn" in n)]


def test_a_frozen_batch_norm_normalises_as_in_inference() -> None:
    training = train(freeze="bn.*")
    training.state["bn.running_mean"] = np.full(4, 0.25)
    training.state["bn.running_var"] = np.full(4, 4.0)
    x, labels = next(batches())
    (scores,) = evaluate(small_net(), [x], {n: training.state[n] for n in (*SHAPES, *STATISTICS)})
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert training(x, labels)["loss"] == pytest.approx(-np.log(shares[np.arange(8), labels]).mean(), rel=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_the_loss_does_not_reach_stays(optimizer: str) -> None:
    b = GraphBuilder("stopped")
    x = b.input("x", TensorType(DType.F64, (8, 3)))
    first, second = (
        b.emit("param", shape=s, dtype="f64", name=n) for n, s in (("fc1.weight", (3, 4)), ("fc2.weight", (4, 3)))
    )
    training = train(
        b.finish([b.emit("matmul", b.emit("stop_gradient", b.emit("matmul", x, first)), second)]), optimizer=optimizer
    )
    before = dict(training.state)
    training(*next(batches()))
    np.testing.assert_array_equal(training.state["fc1.weight"], before["fc1.weight"])
    assert not [n for n in training.state if n.startswith("optimizer.") and "fc1" in n]


def test_nothing_left_to_train() -> None:
    with pytest.raises(NetcError, match="no trainable parameters but the frozen ones"):
        train(freeze="*")
    with pytest.raises(NetcError, match=r"no parameter matches `fc3\.\*`") as caught:
        train(freeze=("fc1.*", "fc3.*"))
    assert "fc2.weight" in str(caught.value)
    b = GraphBuilder("stopped")
    x = b.input("x", TensorType(DType.F64, (8, 3)))
    product = b.emit("matmul", x, b.emit("param", shape=(3, 3), dtype="f64", name="w"))
    with pytest.raises(NetcError, match="the loss depends on no trainable parameter"):
        train(b.finish([b.emit("stop_gradient", product)]))


def test_a_single_score_has_no_softmax() -> None:
    b = GraphBuilder("one")
    x = b.input("x", TensorType(DType.F64, (4, 1)))
    graph = b.finish([b.emit("mul", x, b.emit("param", shape=(1,), dtype="f64", name="w"))])
    with pytest.raises(NetcError, match="of a single score") as caught:
        train(graph)
    assert "sigmoid_cross_entropy or hinge" in str(caught.value)


def linear(rows: int) -> Graph:
    b = GraphBuilder("linear")
    x = b.input("x", TensorType(DType.F64, (rows, 3)))
    return b.finish([b.emit("dense", x, b.emit("param", shape=(3, 4), dtype="f64", name="fc1.weight"))])


def test_accumulated_batches_count_like_one() -> None:
    """Without batch norm, two halves are one batch."""
    halves = train(linear(4), optimizer="adam(lr=0.1)", accumulate=2)
    one = train(linear(8), optimizer="adam(lr=0.1)")
    for number, (data, labels) in enumerate(batches(), 1):
        start = halves.state["fc1.weight"]
        halves(data[:4], labels[:4])
        np.testing.assert_array_equal(halves.state["fc1.weight"], start)
        assert halves.state["optimizer.micro_step"] == 1
        halves(data[4:], labels[4:])
        one(data, labels)
        assert halves.state["optimizer.step"] == one.state["optimizer.step"] == number
    np.testing.assert_allclose(halves.state["fc1.weight"], one.state["fc1.weight"], rtol=1e-12)
    found, slot = [], "optimizer.gradient.fc1.weight"
    for earlier in (0.0, np.nan):  # after an update nothing is left of what was added up
        halves.state[slot] = np.full_like(halves.state[slot], earlier)
        again = train(linear(4), optimizer="adam(lr=0.1)", accumulate=2)
        again.state.update(halves.state)
        again(data[:4], labels[:4])
        found.append(again.state[slot])
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)


def test_moving_average() -> None:
    training = train(ema=0.15)
    names = (*SHAPES, "bn.running_mean", "bn.running_var")
    averages = {n: training.state[n] for n in names}
    for done, (x, labels) in enumerate(batches()):
        training(x, labels)
        keep = min(0.15, (1 + done) / (10 + done))
        for name in names:
            averages[name] = keep * averages[name] + (1 - keep) * training.state[name]
            np.testing.assert_allclose(training.state[f"ema.{name}"], averages[name], rtol=1e-12)


def test_exchange_stands_between_gradients_and_update() -> None:
    seen: list[str] = []

    def double(b: GraphBuilder, shared: Shared) -> Shared:
        seen.extend(shared.gradients)
        return replace(shared, gradients={name: b.emit("add", g, g) for name, g in shared.gradients.items()})

    twice, plain = train(exchange=double), train(optimizer="sgd(lr=1)")
    for training in (twice, plain):
        training(*next(batches()))
    assert seen == list(SHAPES)
    for name in SHAPES:
        np.testing.assert_allclose(twice.state[name], plain.state[name], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"ema": 1.0}, "ema must lie in"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be positive"),
        ({"schedule": "cosine(epochs=3)"}, r"`cosine\(epochs=3\)` needs to know steps_per_epoch"),
        ({"schedule": "constant(warmup=1)"}, r"`constant\(warmup=1\)` needs to know steps_per_epoch"),
        ({"optimizer": "sgd(lr=0.1, weight_decay=-1)"}, "weight_decay must be a finite number, and not negative"),
        ({"decay": "some"}, "decay is `all` or `weights`"),
        ({"loss": "softmax_crossentropy"}, r"did you mean softmax_cross_entropy\?"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        training_step(small_net(), **{**SETTINGS, **options})


def own_loss(shape: tuple[int, ...] = (8, 3)) -> GraphLoss:
    """The mean of the squared differences, as a user would write it."""
    b = GraphBuilder("own")
    prediction, target = (b.input(n, TensorType(DType.F64, shape)) for n in ("prediction", "target"))
    difference = b.emit("sub", prediction, target)
    return GraphLoss(graph=b.finish([b.emit("mul", difference, difference)]))


def loss_of_scores(scores: TensorType, labels: TensorType) -> GraphLoss:
    """A loss that looks at the scores only."""
    b = GraphBuilder("own")
    given = b.input("scores", scores)
    b.input("labels", labels)
    return GraphLoss(graph=b.finish([b.emit("reduce_sum", given)]))


@pytest.mark.parametrize(
    ("labels", "counted"),
    [(TensorType(DType.I32, (8,)), True), (TensorType(DType.F32, (8,)), False), (TensorType(DType.I32, (8, 3)), False)],
)
def test_an_own_loss_counts_what_is_right_if_labels_are_classes(labels: TensorType, counted: bool) -> None:
    net = small_net()
    graph = loss_graph(net, loss=loss_of_scores(net.outputs[0].type, labels))
    assert graph.attributes["metrics"] == (("loss", "correct") if counted else ("loss",))


def test_own_loss() -> None:
    own, library = train(loss=own_loss()), train(loss="mean_squared_error")
    for x, labels in batches():
        target = np.eye(3)[labels]
        assert own(x, target)["loss"] == pytest.approx(float(library(x, target)["loss"]), rel=1e-12)


def test_own_loss_that_does_not_fit() -> None:
    with pytest.raises(NetcError, match=r"the loss @own takes f64\[8,4\], but the prediction is f64\[8,3\]"):
        train(loss=own_loss((8, 4)))
    with pytest.raises(NetcError, match="@small must map prediction and labels to one result"):
        GraphLoss(graph=small_net())


def test_nets_that_cannot_be_trained() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (2, 3)))
    with pytest.raises(NetcError, match="@g has no trainable parameters"):
        training_step(b.finish([b.emit("relu", x)]), **SETTINGS)
    with pytest.raises(NetcError, match="@g has 2 outputs"):
        training_step(b.finish([x, x]), **SETTINGS)
    labels = b.input("labels", TensorType(DType.F32, (2, 3)))
    with pytest.raises(NetcError, match="an input is called `labels`"):
        training_step(b.finish([labels]), **SETTINGS)


COMPILED: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd(lr=0.5, momentum=0.9, nesterov=true, weight_decay=0.01)"},
    {"optimizer": "adam(lr=0.1)", "schedule": "cosine(epochs=6, warmup=2)"},
    {"optimizer": "adamw(lr=0.1)", "schedule": "step(every=2)", "ema": 0.9},
    {"optimizer": "rmsprop(lr=0.1)", "schedule": "polynomial(epochs=6, power=2)", "clip_norm": 0.5},
    {"optimizer": "lars(lr=5, weight_decay=0.01)", "schedule": "step(at=[1, 4])", "accumulate": 2},
    {"optimizer": "muon(lr=0.1, weight_decay=0.1)"},
)


@pytest.mark.parametrize("pipeline", ["decompose", "canonicalize,decompose,canonicalize,fold-constants,cse,dce,fuse"])
@pytest.mark.parametrize("options", COMPILED, ids=lambda o: o["optimizer"].split("(")[0])
def test_compiled_step(options: dict[str, Any], pipeline: str) -> None:
    # No bias before the batch norm: its gradient is nothing but rounding errors, which Adam would make steps of.
    net = small_net(DType.F32, dropout=0.25, bias=False)
    step = training_step(net, **{**SETTINGS, **options}, steps_per_epoch=1, seed=7)
    reference, target = Training(step), host_target()
    module = lower(run(step, pipeline), target, 2)
    code = object_code(emit_module(module, target), target)
    # Muon raises small singular values, and what was rounded off them, almost 500-fold.
    atol = 1e-5 if "muon" in options["optimizer"] else 1e-6
    with Program(module, code, target, 2, initial_state(step)) as program:
        for x, labels in batches(DType.F32):
            close(program(x, labels), tuple(reference(x, labels).values()), atol)
        for name, view in program.state.items():
            close((view,), (reference.state[name],), atol)


def close(results: tuple[Array, ...], expected: tuple[Array, ...], atol: float) -> None:
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=atol)
