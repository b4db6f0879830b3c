"""What commands print and write: check, show, compile, run, bench, eval."""

import json
from pathlib import Path

import pytest

from netc.compiler.backends import backend_of
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.passes import format_pipeline
from netc.compiler.passes.pipelines import INFERENCE
from netc.export import write_tflite

from .conftest import Call

# ---- check and show -------------------------------------------------------------------------------------------------


def test_check_accepts_a_sound_file(netc: Call, tiny: Path) -> None:
    result = netc("check", tiny)
    assert (result.code, result.out) == (0, f"{tiny}: no errors\n")
    result = netc("check", tiny, "--json")
    assert (result.code, json.loads(result.out)) == (0, [])


def test_check_locates_errors(netc: Call, tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("relu", "rellu"))
    result = netc("check", tiny)
    assert result.code == 2
    assert "tiny.net:2:39: error" in result.err
    assert "^^^^^" in result.err
    result = netc("check", tiny, "--json")
    (diagnostic,) = json.loads(result.out)
    assert (result.code, diagnostic["line"], diagnostic["column"]) == (2, 2, 39)


def test_show_counts(netc: Call, tiny: Path) -> None:
    shown = json.loads(netc("show", tiny, "--json").out)
    assert shown["parameters"] == (3 * 3 * 4 + 4) + (6 * 6 * 4 * 10 + 10)
    assert shown["macs"] == 12 * 12 * 9 * 4 + 6 * 6 * 4 * 10
    convolution = shown["layers"][0]
    assert (convolution["name"], convolution["shape"], convolution["parameters"]) == ("conv1", [1, 12, 12, 4], 40)
    table = netc("show", tiny, "--batch", "2").out
    assert "conv1" in table
    assert "2 x 12 x 12 x 4" in table
    assert "1,490" in table


def test_show_counts_the_constants_of_a_tflite_file(netc: Call, tiny: Path) -> None:
    """They are the parameters of the net that it was written from."""
    path = tiny.with_suffix(".tflite")
    write_tflite(tiny, path)
    shown = json.loads(netc("show", path, "--json").out)
    assert shown["parameters"] == (3 * 3 * 4 + 4) + (6 * 6 * 4 * 10 + 10)
    assert shown["parameter_bytes"] == 4 * shown["parameters"]
    counts = {layer["operator"]: layer["parameters"] for layer in shown["layers"] if layer["parameters"]}
    assert counts == {"conv2d": 40, "dense": 1450}
    table = netc("show", path).out
    assert "1,450" in table
    assert "1,490" in table


# ---- compile --------------------------------------------------------------------------------------------------------


def test_compile_says_what_it_did(netc: Call, tiny: Path) -> None:
    result = netc("compile", tiny, "--threads", "2", "--time-passes")
    assert result.code == 0
    for word in ("tiny, batch 1", "2 threads", "optimized", "total", "FLOP", "1,490", "arena", "kernels", "cache"):
        assert word in result.out
    assert "fold-batch-norm" in result.err


def test_compile_summary_for_tools(netc: Call, tiny: Path) -> None:
    first = json.loads(netc("compile", tiny, "--batch", "3", "--threads", "1", "--json").out)
    again = json.loads(netc("compile", tiny, "--batch", "3", "--threads", "1", "--json").out)
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["parameters"] == 1490
    assert first["macs"] == 3 * (12 * 12 * 9 * 4 + 6 * 6 * 4 * 10)
    assert first["object_bytes"] == again["object_bytes"] > 0


@pytest.mark.parametrize(
    ("stage", "start"),
    [
        ("graph", b"graph @tiny"),
        ("optimized", b"graph @tiny"),
        ("loops", b""),
        ("llvm", b""),
        ("asm", b"\t.file"),
        ("object", b"\x7fELF"),
    ],
)
def test_every_stage_can_be_written(netc: Call, tiny: Path, tmp_path: Path, stage: str, start: bytes) -> None:
    path = tmp_path / "out"
    result = netc("compile", tiny, "--emit", stage, "-o", path, "--cpu", "x86-64-v3", "--threads", "1")
    assert (result.code, result.out, result.err) == (0, "", "")
    first = path.read_bytes()
    assert first.startswith(start)
    netc("compile", tiny, "--emit", stage, "-o", path, "--cpu", "x86-64-v3", "--threads", "1")
    assert path.read_bytes() == first


def test_emitted_graph_can_be_optimized_by_opt(netc: Call, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph.ir"
    path.write_text(netc("compile", tiny, "--emit", "graph").out)
    pipeline = backend_of(host_target()).pipeline(INFERENCE, host_target())
    by_opt = netc("opt", format_pipeline(pipeline), path).out
    assert by_opt == netc("compile", tiny, "--emit", "optimized").out


# ---- run, bench, eval -----------------------------------------------------------------------------------------------


def test_run_prints_the_best_classes(netc: Call, tiny: Path, tiny_weights: Path, picture: Path) -> None:
    result = netc("run", tiny, "--weights", tiny_weights, "--image", picture, "--top", "3", "--threads", "1")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == 3
    assert all("%  class " in line for line in lines)
    as_json = json.loads(netc("run", tiny, "--weights", tiny_weights, "--image", picture, "--top", "10", "--json").out)
    assert sum(c["probability"] for c in as_json) == pytest.approx(1)
    assert [c["probability"] for c in as_json] == sorted((c["probability"] for c in as_json), reverse=True)


def test_run_without_anything_says_what_it_uses(netc: Call, tiny: Path) -> None:
    result = netc("run", tiny, "--seed", "7", "--threads", "1")
    assert result.code == 0
    assert "He initialisation with seed 7" in result.err
    assert "sample picture" in result.err
    assert len(result.out.splitlines()) == 5


def test_run_uses_labels_beside_the_net(netc: Call, tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("divide = 255", 'divide = 255, labels = "names.txt"'))
    result = netc("run", tiny, "--threads", "1")
    assert "names.txt not found" in result.err
    (tiny.parent / "names.txt").write_text("".join(f"name{i}\n" for i in range(10)))
    result = netc("run", tiny, "--threads", "1")
    assert "%  name" in result.out


def test_bench_reports_times_and_rates(netc: Call, tiny: Path) -> None:
    options = ("--threads", "1", "--seconds", "0")
    result = netc("bench", tiny, *options, "--profile")
    assert result.code == 0
    for word in ("median", "min", "p95", "GFLOP/s", "peak", "conv2d"):
        assert word in result.out
    shown = json.loads(netc("bench", tiny, *options, "--profile", "--json").out)
    assert 0 < shown["min_ms"] <= shown["median_ms"] <= shown["p95_ms"]
    assert shown["gflops"] > 0
    assert 0 < shown["peak_share"] < 2
    assert sum(row["share"] for row in shown["profile"]) == pytest.approx(1)


def test_eval_measures_accuracy(netc: Call, tiny: Path, tiny_weights: Path, mnist: Path) -> None:
    command = ("eval", tiny, "--weights", tiny_weights, "--data", "mnist", "--data-dir", mnist, "--threads", "1")
    result = netc(*command)
    assert result.code == 0
    assert "mnist: 5 samples" in result.out
    assert "top-1" in result.out
    one, three = (json.loads(netc(*command, "--batch", batch, "--json").out) for batch in (1, 3))
    assert one == three
    assert one["samples"] == 5
    assert json.loads(netc(*command, "--limit", "2", "--json").out)["samples"] == 2


def test_code_for_another_machine_is_not_run(netc: Call, tiny: Path) -> None:
    foreign = "cortex-a72" if host_target().triple.startswith("x86_64") else "haswell"
    result = netc("run", tiny, "--cpu", foreign)
    assert result.code == 2
    assert f"can't run code for {foreign}" in result.err
    assert netc("compile", tiny, "--cpu", foreign).code == 0
