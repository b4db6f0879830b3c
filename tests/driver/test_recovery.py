"""Accuracy that quantization costs comes back: `netc.quantize` with its options, `netc quantize`, `recover`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from uneven import NEIGHBOURS, uneven

import netc
from netc.calibration import Calibrated
from netc.cli import main
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.quantization import Scheme
from netc.compiler.quantization import quantize as quantize_graph
from netc.compiler.quantization.adaround import AdaRound
from netc.recovery import recover
from netc.runtime.data.folder import data_folder
from netc.runtime.data.images import Preprocess
from netc.runtime.data.registry import open_source
from netc.runtime.weights import initial_weights, read_weights

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 4) {
  x = image |> conv(8, 3) |> relu
  y = x |> depthwise_conv(3) |> relu6 |> conv(8, 1, bias = false)
  return x + y |> global_avg_pool |> dense(classes)
}

preprocess small { divide = 255, mean = 0.5, std = 0.25, labels = ["a", "b", "c", "d"] }
"""
QUICK = AdaRound(steps=60, batch=32)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def samples(count: int = 6) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(2)
    return [(random.standard_normal((1, 8, 8, 3)) * 0.5 + 0.5).astype(np.float32) for _ in range(count)]


def calibrated(network: Path) -> Calibrated:
    graph = netc.load(str(network))
    weights = initial_weights(graph, 3)
    return netc.calibrate(graph, samples(), weights=weights)


def distance(graph: Graph, quantized: Graph) -> float:
    """The squared error of the outputs, over samples that nothing was learnt from."""
    with netc.compile(graph) as wanted, netc.compile(quantized) as got:
        return float(sum(np.square(wanted(x) - got(x)).sum() for x in samples(40)[6:]))


@pytest.mark.parametrize("options", [{"bias_correction": True}, {"adaround": QUICK}])
def test_outputs_come_nearer_to_the_floats(network: Path, options: dict[str, object]) -> None:
    known = calibrated(network)
    edges = {"per_channel": False, "inputs": "f32", "outputs": "f32"}
    ranges = replace(known.calibration.ranges("mse"), means={})
    plain = netc.quantize(known.graph, ranges=ranges, **edges)
    recovered = netc.quantize(str(network), calibration=known, **edges, **options)
    assert distance(known.graph, recovered) < 0.9 * distance(known.graph, plain)


def test_the_same_seed_gives_the_same_network(network: Path) -> None:
    known = calibrated(network)
    quantized = quantize_graph(known.graph, known.calibration.ranges("mse"), Scheme(per_channel=False))
    results = [
        recover(known.graph, quantized, known.inputs, adaround=QUICK, bias_correction=True, seed=seed, threads=threads)
        for seed, threads in ((1, 1), (1, 1), (2, 1))
    ]
    texts = [str(r.graph) for r in results]
    assert texts[0] == texts[1] != texts[2]


def test_what_became_of_layers_is_told(network: Path) -> None:
    known = calibrated(network)
    quantized = quantize_graph(known.graph, known.calibration.ranges("mse"), Scheme(per_channel=False))
    seen: list[tuple[int, int]] = []
    result = recover(
        known.graph, quantized, known.inputs, adaround=QUICK, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [layer.name.rpartition("/")[2] for layer in result.layers] == ["relu", "relu6", "conv2d", "dense"]
    assert all(layer.after <= layer.before for layer in result.layers)
    assert any(layer.moved for layer in result.layers)
    assert all((layer.after < layer.before) == (layer.moved > 0) for layer in result.layers)


def test_compiled_and_interpreted_networks_are_the_same(network: Path) -> None:
    graph = netc.quantize(str(network), calibration=calibrated(network), bias_correction=True, adaround=QUICK)
    x = np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 3), np.int8)
    with netc.compile(graph) as program:
        np.testing.assert_array_equal(program(x), evaluate(graph, [x])[0])


def test_samples_that_can_be_read_only_once_will_do(network: Path) -> None:
    once = netc.quantize(str(network), calibration=iter(samples()), bias_correction=True)
    again = netc.quantize(str(network), calibration=samples(), bias_correction=True)
    assert str(once) == str(again)


def test_ranges_alone_are_not_enough(network: Path) -> None:
    ranges = calibrated(network).calibration.ranges("mse")
    for option in ("adaround", "bias_correction"):
        with pytest.raises(netc.NetcError, match="take samples, not ranges alone"):
            netc.quantize(str(network), ranges=ranges, **{option: True})


def test_nothing_asked_for_changes_nothing(network: Path) -> None:
    known = calibrated(network)
    quantized = quantize_graph(known.graph, known.calibration.ranges("mse"))
    assert recover(known.graph, quantized, known.inputs).graph is quantized
    with pytest.raises(netc.NetcError, match="no samples to recover accuracy with"):
        recover(known.graph, quantized, [], bias_correction=True)


def test_the_command_says_what_it_did(network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    for i in range(3):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{i}.png")
    plain, recovered = tmp_path / "plain.tflite", tmp_path / "recovered.tflite"
    arguments = ["quantize", str(network), "--calibrate", str(tmp_path), "--per-tensor"]
    assert main([*arguments, "-o", str(plain)]) == 0
    assert "recovery" not in capfd.readouterr().out
    assert main([*arguments, "-o", str(recovered), "--bias-correction", "--adaround", "--equalize"]) == 0
    assert "recovery: squared error of 4 layers at " in capfd.readouterr().out
    assert plain.read_bytes() != recovered.read_bytes()
    assert main(["run", str(recovered), "--image", str(tmp_path / "0.png")]) == 0


# ---- with trained weights, where there are some --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> dict[str, float]:
    """Shares of right answers of mlp_mnist, made uneven, in several forms on 400 digits."""
    try:
        weights = data_folder().parent / "weights" / "mlp_mnist.safetensors"
    except netc.NetcError as error:
        pytest.skip(str(error))
    if not weights.exists():
        pytest.skip(f"there is no {weights}")
    graph = netc.load("mlp_mnist")
    broken = uneven(read_weights(weights, graph), NEIGHBOURS["mlp_mnist"])
    preprocess = Preprocess.of(graph)
    known = [preprocess(picture)[np.newaxis] for picture in open_source("mnist").values[:100]]
    tests = [
        (preprocess(p)[np.newaxis], label)
        for (p, label), _ in zip(open_source("mnist", "test"), range(400), strict=False)
    ]

    def right(program: netc.Program) -> float:
        with program:
            return float(np.mean([np.argmax(program(x)) == label for x, label in tests]))

    def integers(**options: object) -> float:
        given = {"calibration": known, "weights": broken, "method": "minmax", "inputs": "f32", "outputs": "f32"}
        return right(netc.compile(netc.quantize(graph, **given, **options)))

    return {
        "float": right(netc.compile(graph, weights=broken)),
        "plain": integers(),
        "equalized": integers(equalized=True),
        "adaround": integers(adaround=AdaRound(steps=150)),
    }


def test_a_network_that_naive_quantization_breaks_is_recovered(digits: dict[str, float]) -> None:
    assert digits["float"] > 0.97
    assert digits["plain"] < 0.92
    assert digits["equalized"] >= digits["float"] - 0.01


def test_learnt_rounding_recovers_most_of_it(digits: dict[str, float]) -> None:
    lost = digits["float"] - digits["plain"]
    assert digits["float"] - digits["adaround"] < 0.4 * lost
