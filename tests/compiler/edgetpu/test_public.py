"""Predictions against public evidence: pairs of models before and after the real compiler, and its logs."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from netc.compiler.edgetpu import ModelFacts, predict, read_tflite, to_data
from netc.compiler.errors import NetcError

from ...frontend.tflite.small_models import Model

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("NETC_DATA", ROOT.parent / "shared" / "data")).parent / "edgetpu"
needs_models = pytest.mark.skipif(not (DATA / "models").is_dir(), reason=f"there are no public models at {DATA}")


@pytest.fixture(scope="module")
def benchmark_module() -> Iterator[ModuleType]:
    """benchmarks/edgetpu_predictions.py."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import edgetpu_predictions

        yield edgetpu_predictions
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@needs_models
@pytest.mark.parametrize(
    ("name", "mapped", "on_cpu", "file", "streamed"),
    [
        ("bright_128x128", 6, 0, 524480, 524288),
        ("deeplab_mobilenet_edgetpu_slim_cityscapes_quant", 82, 2, 2654784, 0),
        ("deeplabv3_mnv2_pascal_quant", 64, 8, 2337216, 0),
        ("looming_128x128_3x3", 9, 0, 1024, 0),
        ("mobilenet_v1_0.25_128_quant", 31, 0, 566912, 0),
        ("movenet_single_pose_lightning_ptq", 98, 59, 2865024, 2368),
        ("posenet_mobilenet_v1_075_353_481_16_quant_decoder", 37, 1, 1444608, 0),
        ("split_concat", 3, 0, 192, 0),
    ],
)
def test_models_as_the_compiler_made_them(name: str, mapped: int, on_cpu: int, file: int, streamed: int) -> None:
    report = predict(read_tflite((DATA / "models" / f"{name}.tflite").read_bytes()))
    assert (len(report.mapped), len(report.on_cpu)) == (mapped, on_cpu)
    assert (report.memory.file, report.memory.streamed) == (file, streamed)


@needs_models
def test_scores(benchmark_module: ModuleType) -> None:
    rows = dict(benchmark_module.scores(DATA))
    least = {
        "operators mapped or not, in models with one subgraph": 2495,
        "bytes of parameters in the file, to the byte": 110,
        "on-chip memory, to the printed digits": 33,
        "conv_sweep: cached": 68,
        "operator tables of logs beside a model, equal in every line": 69,
        "lines of other logs: status equal": 322,
    }
    assert {what: rows[what].hits for what in least} == least


def test_other_files_are_refused() -> None:
    for data in (b"", b"TFL3", b"\0\0\0\0TFL4" + bytes(64)):
        with pytest.raises(NetcError, match=r"m\.tflite:1:1: error: this is not a TFLite model"):
            read_tflite(data, "m.tflite")
    with pytest.raises(NetcError, match=r"m.tflite:1:1: error: the file is damaged: root \(Model\)"):
        read_tflite(b"\xff\xff\xff\x7fTFL3" + bytes(64), "m.tflite")


def one_operator() -> Model:
    m = Model()
    x, y = m.tensor("x", (1, 2), scale=0.5), m.tensor("y", (1, 3), scale=0.5)
    w = m.constant("w", np.ones((3, 2), np.int8), scale=[0.5, 0.25, 0.5])
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {"FusedActivationFunction": 3}))
    return m


def facts(m: Model) -> ModelFacts:
    return read_tflite(m.data((0,), (1,)), "m.tflite")


def test_facts_of_a_file() -> None:
    (op,) = facts(one_operator()).operators
    weight = op.input(1)
    assert weight is not None
    assert (weight.constant, weight.per_channel, weight.zero) == (True, True, False)
    assert op.input(2) is None
    assert (op.kind, op.fused_activation, dict(op.options)["WeightsFormat"]) == ("FULLY_CONNECTED", "RELU6", "DEFAULT")


def test_a_size_that_is_not_known_is_a_fact() -> None:
    m = one_operator()
    m.tensors[0].update(shape=[-1, 2])
    (op,) = facts(m).operators
    assert [t.dynamic for t in op.activations] == [True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.tensors[0].update(shape=[1, -2]), r"tensors\[0\]\.shape \(Tensor\): .*below 0"),
        (lambda m: m.tensors[2].update(shape=[3, 3]), r"tensors\[2\]\.buffer \(Tensor\): .* takes 9 bytes"),
        (lambda m: m.operators[0].update(inputs=(0, 7, -1)), r"operators\[0\]\.inputs \(Operator\): .* no tensor 7"),
        (lambda m: m.operators[0].update(options=("SoftmaxOptions", {})), "its options are SoftmaxOptions"),
        (
            lambda m: m.operators[0].update(options=("FullyConnectedOptions", {"FusedActivationFunction": 77})),
            "fused_activation_function can't be 77",
        ),
    ],
)
def test_lies_are_named(change: Callable[[Model], None], message: str) -> None:
    m = one_operator()
    change(m)
    with pytest.raises(NetcError, match=rf"m\.tflite:1:1: error: .*{message}"):
        facts(m)


@needs_models
def test_damaged_files_give_an_error_or_a_report() -> None:
    data = (DATA / "models" / "looming_128x128_3x3.tflite").read_bytes()
    dice = random.Random(7)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data[: dice.randrange(8, len(data))] if dice.random() < 0.2 else data)
        for _ in range(dice.choice((1, 4, 16))):
            damaged[dice.randrange(8, len(damaged)) if len(damaged) > 8 else 0] = dice.randrange(256)
        try:
            to_data(predict(read_tflite(bytes(damaged))))
        except NetcError:
            refused += 1
    assert 0 < refused < 300
