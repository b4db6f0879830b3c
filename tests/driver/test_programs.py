"""`netc.compile` with quantization, and programs that are saved as TFLite files."""

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.pipeline import PROGRAM, Request, build, build_packed, load_program
from netc.runtime.weights import initial_weights, write_weights

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 4) {
  return image |> conv(6, 3) |> relu |> conv(6, 3, stride = 2) |> relu6 |> global_avg_pool |> dense(classes)
}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def samples(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((count, 8, 8, 3), np.float32)


@pytest.mark.parametrize("batch", [1, 2])
def test_quantized_programs_are_close_to_float_ones(network: Path, batch: int, tmp_path: Path) -> None:
    given: dict[str, Any] = {"weights": None, "batch": batch, "threads": 1, "seed": 4}
    floats = netc.compile(network, **given)
    integers = netc.compile(network, quantize="int8", calibration=samples(9), **given)
    assert str(integers) == f"<Program small(image: f32[{batch},8,8,3]) -> f32[{batch},4], threads=1>"
    x = samples(batch)
    wanted, got = np.asarray(floats(x)), np.asarray(integers(x))
    assert wanted.dtype == got.dtype == np.float32
    assert 0 < np.abs(wanted - got).max() < 0.05 * (wanted.max() - wanted.min())
    integers.save(tmp_path / "small.tflite")
    np.testing.assert_array_equal(netc.compile(tmp_path / "small.tflite", batch=batch, threads=1)(x), got)


@pytest.mark.parametrize("form", ["int8", "int16x8"])
def test_samples_calibrate_alike_for_every_batch(network: Path, form: str) -> None:
    """There are fewer of them than a batch has."""
    given: dict[str, Any] = {"quantize": form, "calibration": samples(5), "threads": 1}
    with netc.compile(network, **given) as single, netc.compile(network, batch=8, **given) as eight:
        x = samples(8)
        np.testing.assert_array_equal(eight(x), np.concatenate([single(x[i : i + 1]) for i in range(8)]))


@pytest.mark.parametrize(
    "mixed", ["x - reduce_mean(x, axes = [0], keepdims = true)", "x * (N * N)", "x * tensor([1.0, 1.0 * N])"]
)
def test_networks_that_mix_or_count_samples_are_calibrated_for_their_batch(mixed: str, tmp_path: Path) -> None:
    """One sample less the mean of all is 0."""
    path = tmp_path / "mixed.net"
    path.write_text(f"net mixed(x: f32[N, 2]) {{ return {mixed} |> dense@a(5) |> relu |> dense@b(3) }}", "utf-8")
    x = np.random.default_rng(0).standard_normal((64, 2), np.float32)
    given: dict[str, Any] = {"batch": 4, "threads": 1}
    wanted = np.asarray(netc.compile(path, **given)(x[:4]))
    got = np.asarray(netc.compile(path, quantize="int8", calibration=x, **given)(x[:4]))
    assert np.abs(wanted - got).max() < 0.05 * np.ptp(wanted)


def test_inputs_of_runs_calibrate_batches(network: Path) -> None:
    runs = [(samples(2),), (2 * samples(2),)]
    program = netc.compile(network, batch=2, quantize="int8", calibration=runs, threads=1)
    wanted = netc.compile(network, quantize="int8", calibration=np.concatenate([samples(2), 2 * samples(2)]), threads=1)
    x = samples(2)
    np.testing.assert_allclose(program(x), np.concatenate([wanted(x[:1]), wanted(x[1:])]), atol=0.02)


def test_float_programs_are_saved_too(network: Path, tmp_path: Path) -> None:
    program = netc.compile(network, threads=1, seed=2)
    program.save(tmp_path / "small.tflite")
    again = netc.compile(tmp_path / "small.tflite", threads=1)
    np.testing.assert_allclose(again(samples(1)), program(samples(1)), rtol=1e-5, atol=1e-6)


def test_litert_runs_what_was_saved(network: Path, tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    program = netc.compile(network, quantize="int8", calibration=samples(4), threads=1)
    program.save(tmp_path / "small.tflite")
    interpreter = litert.Interpreter(
        str(tmp_path / "small.tflite"), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for x in samples(5)[:, None]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(got, program(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int4", "calibration": samples(1)}, "can be quantized to int8, .*, not 'int4'"),
        ({"quantize": "int8"}, "takes samples to calibrate with, or ranges"),
        ({"calibration": samples(1)}, "are for quantizing"),
        ({"quantize": "int8", "calibration": samples(1)[:, :4]}, r"have shape \[4,8,3\], net small takes \[8,8,3\]"),
    ],
)
def test_unsuitable_arguments(network: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(netc.NetcError, match=message):
        netc.compile(network, **arguments)


def test_samples_must_fill_the_batch_of_a_graph(network: Path) -> None:
    with pytest.raises(netc.NetcError, match="2 samples don't fill a batch of 3"):
        netc.quantize(netc.load(network, batch=3), calibration=samples(2))


# ---- copies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_copies_of_programs_give_the_same(network: Path, quantize: str | None, copied: Any, tmp_path: Path) -> None:
    calibration = None if quantize is None else samples(9)
    program = netc.compile(network, threads=1, seed=4, quantize=quantize, calibration=calibration)
    again = copied(program)
    x = samples(1)
    np.testing.assert_array_equal(again(x), program(x))
    assert str(again.graph) == str(program.graph)
    assert again.threads == 1
    program.close()
    assert np.asarray(again(x)).shape == (1, 4)


def test_programs_take_their_weights_along(network: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    graph = netc.compile(network, seed=5, threads=1).graph
    given = dict(initial_weights(graph, 5))
    write_weights(file, graph, given)
    x = samples(1)
    for weights in (file, given):
        program = netc.compile(network, weights=weights, threads=1)
        pickled = pickle.dumps(program)
        file.unlink(missing_ok=True)
        np.testing.assert_array_equal(pickle.loads(pickled)(x), program(x))
    given[next(iter(given))] = given[next(iter(given))] + 1
    with pytest.raises(netc.NetcError, match="weights of small have changed since it was compiled"):
        pickle.dumps(program)


def test_other_processes_take_programs(network: Path) -> None:
    program, x = netc.compile(network, threads=1), samples(1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(program, (x,)), program(x))


def test_trainers_say_what_to_pass_instead(network: Path) -> None:
    with netc.compile_training(network, batch=2, threads=1) as trainer:
        for copied in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match=r"pass the arguments of netc\.compile_training, and what state\(\)"):
                copied(trainer)


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_that_are_packed_beside_the_code_are_the_same(network: Path, threads: int) -> None:
    request = Request(network, threads=threads, seed=5)
    c, packed = build_packed(request)
    with load_program(build(request, PROGRAM)) as usual, load_program(c, packed=packed) as program:
        np.testing.assert_array_equal(program.packed_weights, usual.packed_weights)
        x = samples(1)
        np.testing.assert_array_equal(program(x), usual(x))
        program.repack(dict(initial_weights(c.graph, 6)))
        assert not np.array_equal(program(x), usual(x))


def test_weights_that_do_not_fit_stop_a_compilation(network: Path) -> None:
    with pytest.raises(NetcError, match="does not fit net small"):
        netc.compile(network, weights={"conv.weight": np.zeros((3, 3), np.float32)}, threads=1)
