"""The command line as a whole: exit codes, one message for each failure, stdout and stderr kept apart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from netc import cli
from netc.compiler.backends import backend_of, known_passes
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import InternalError
from netc.compiler.passes import format_pipeline
from netc.compiler.passes.pipelines import INFERENCE
from netc.export import write_tflite

from .conftest import Call

GRAPH = """\
graph @t(%x: f32[1,4]) -> (f32[1,4]) {
  %0 = relu(%x) : f32[1,4]
  %1 = relu(%x) : f32[1,4]
  %2 = add(%0, %1) : f32[1,4]
  return %2
}
"""
SMALLER = """\
graph @t(%x: f32[1,4]) -> (f32[1,4]) {
  %0 = relu(%x) : f32[1,4]
  %1 = add(%0, %0) : f32[1,4]
  return %1
}
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.ir"
    path.write_text(GRAPH)
    return path


# ---- opt ------------------------------------------------------------------------------------------------------------


def test_opt_runs_a_pipeline(netc: Call, graph: Path) -> None:
    result = netc("opt", "cse,dce", graph)
    assert (result.code, result.out, result.err) == (0, SMALLER, "")


def test_opt_reports_on_stderr(netc: Call, graph: Path) -> None:
    result = netc("opt", "cse,dce", graph, "--print-after", "cse", "--print-changed", "--time-passes")
    assert result.out == SMALLER
    assert result.err.count("after cse") == 2
    assert "dce: no change" in result.err
    assert "total" in result.err


def test_opt_writes_a_file(netc: Call, graph: Path, tmp_path: Path) -> None:
    result = netc("opt", "cse,dce", graph, "-o", tmp_path / "out.ir")
    assert (result.code, result.out) == (0, "")
    assert (tmp_path / "out.ir").read_text() == SMALLER


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opt", "csee"], "did you mean cse?"),
        (["opt", "cse,,"], "is not a list of passes"),
        (["opt", "cse", "none.ir"], "there is no graph none.ir"),
        (["opt", "cse", ".", "--print-after", "csee"], "did you mean cse?"),
        (["opy"], "did you mean opt"),
        (["show", ""], "MODEL is empty"),
        (["compile", "mlp_mnist", "-o", ""], "-o/--output is empty"),
        (["compile", "mlp_mnist", "--cpu", ""], "--cpu is empty"),
        (["check", "docs/tour.net", "--report", ""], "--report is empty"),
        (["quantize", "mlp_mnist", "--calibrate", "", "-o", "x.tflite"], "--calibrate is empty"),
        (["show", "mlp_mnst"], "did you mean mlp_mnist?"),
        (["show", "none.net"], "none.net"),
        (["compile", "resnet50", "--cpu", "znver44"], "did you mean znver4?"),
        (["compile", "resnet50", "--emit", "graf"], "graf"),
        (["compile", "resnet50", "-o", "x"], "-o needs --emit"),
        (["compile", "resnet50", "--batch", "0"], "0 is not in the range"),
        (["compile", "resnet50", "--set", "L"], "--set takes NAME=VALUE"),
        (["show", "mlp_mnist", "--set", "widths=[4,"], "--set widths: `[4,` is no JSON"),
        (["show", "mlp_mnist", "--set", "stage={unit: basic}"], "is no JSON"),
        (["run", "cnn_mnist", "--image", "none.png"], "no picture none.png"),
        (["run", "cnn_mnist", "--weights", "none.safetensors"], "no weights file none.safetensors"),
        (["eval", "cnn_mnist", "--weights", "w", "--data", "imagenet"], "imagenet"),
    ],
)
def test_wrong_input_gives_one_message_and_exit_code_2(netc: Call, arguments: list[str], message: str) -> None:
    result = netc(*arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.lower().count("error:") == 1
    assert result.out == ""


# ---- failures of other kinds ----------------------------------------------------------------------------------------


def test_interrupt_is_130(netc: Call, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert netc("opt", "cse", graph).code == 130


@pytest.mark.parametrize("error", [InternalError("the pass cse broke the graph"), TypeError("cse broke the graph")])
def test_bug_is_1_and_says_so(netc: Call, graph: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail_with(monkeypatch, error)
    result = netc("opt", "cse", graph)
    assert result.code == 1
    assert "cse broke the graph" in result.err
    assert "bug in netc" in result.err
    assert "Traceback" not in result.err
    monkeypatch.setenv("NETC_TRACEBACK", "1")
    with pytest.raises(type(error)):
        netc("opt", "cse", graph)


def test_lack_of_memory_is_2(netc: Call, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, MemoryError())
    result = netc("opt", "cse", graph)
    assert (result.code, result.err) == (2, "error: not enough memory\n")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("netc.compiler.passes.run", fail)


def run_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "netc", *map(str, arguments)], capture_output=True, **options)


def test_closed_pipe_is_quiet(graph: Path) -> None:
    command = f"{sys.executable} -m netc opt cse {graph} | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert result.stderr == b""


@pytest.mark.parametrize(
    ("before", "call", "after"),
    [("", "command", []), ("import mpi4py", "command", [b"apart"]), ("", "main", [b"after", b"apart"])],
)
def test_a_command_ends_its_process_at_once(graph: Path, before: str, call: str, after: list[bytes]) -> None:
    """What was registered for the end is done; objects are taken apart for MPI's sake, whose end nobody can call."""
    if before:
        pytest.importorskip("mpi4py", reason="mpi4py is not installed (netc[mpi])")
    code = (
        f"import atexit, sys; {before}\n"
        "atexit.register(print, 'at exit')\n"
        "class Object:\n def __del__(self): sys.__stdout__.write('apart\\n')\n"
        "held = Object()\n"
        f"from netc.__main__ import {call}\n"
        f"sys.argv[1:] = ['opt', 'cse', {str(graph)!r}]\n"
        f"{call}()\nprint('after')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    *_, last = result.stdout.split(b"return %1\n}\n")
    assert sorted(last.split(b"\n")) == sorted([*after, b"at exit", b""])


def test_help_names_every_command() -> None:
    result = run_process("--help")
    assert result.returncode == 0
    for command in (b"run", b"compile", b"bench", b"eval", b"opt", b"check", b"show"):
        assert b"\n  " + command in result.stdout


def test_help_says_of_each_command_what_its_own_help_says() -> None:
    commands = {name: cli.cli.get_command(click.Context(cli.cli), name) for name in cli.COMMANDS}
    said = {name: " ".join((c.help or "").split("\n\n")[0].split()) for name, c in commands.items() if c is not None}
    assert said == cli.COMMANDS


@pytest.mark.parametrize(
    ("arguments", "unneeded"), [(["--help"], "netc.commands"), (["run", "resnt50"], "netc.pipeline")]
)
def test_what_is_said_at_once_imports_little(arguments: list[str], unneeded: str) -> None:
    code = f"import sys; from netc.cli import main; main({arguments}); assert {unneeded!r} not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (b"did you mean resnet50?" in result.stderr) is (unneeded == "netc.pipeline")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", rb"\u6a21.ir"), ("ascii", b".ir"), ("utf-8", "模.ir".encode())]
)
def test_any_name_reaches_any_terminal(tmp_path: Path, encoding: str, shown: bytes) -> None:
    path = tmp_path / "模.ir"
    path.write_text("graph", encoding="utf-8")
    result = run_process("opt", "cse", path, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"})
    assert result.returncode == 2
    assert shown in result.stderr
    assert b"Traceback" not in result.stderr


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


def test_full_disk_is_an_error(graph: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "netc", "opt", "cse", str(graph)]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (result.returncode, result.stderr) == (2, b"error: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_stdout_is_no_bug(graph: Path) -> None:
    command = f"{sys.executable} -m netc opt dce {graph} >&-"
    result = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def test_what_others_could_have_put_into_the_cache_is_said_in_a_line(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    folder.chmod(0o777)
    result = run_process("bench", tiny, "--seconds", 0, env={**os.environ, "NETC_CACHE_DIR": str(folder)}, check=False)
    assert result.returncode == 0
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith(f"warning: not taken from the cache of compiled objects: {folder} can be written by others")
    assert not list(folder.iterdir())


def test_opt_lists_the_passes(netc: Call, graph: Path) -> None:
    help_text = netc("opt", "--help").out
    for name in known_passes():
        assert f"  {name}" in help_text
    assert "there are assign-axes, assign-layouts, canonicalize" in netc("opt", "nosuch", graph).err


def test_shipped_files_have_the_same_name_everywhere(netc: Call) -> None:
    assert "// netc/models/cnn.net:7:" in netc("compile", "cnn_mnist", "--emit", "graph").out
    assert netc("show", "cnn_mnist", "--set", "clases=3").err.startswith("netc/models/cnn.net:")


def test_no_passes_are_a_pipeline(netc: Call, graph: Path) -> None:
    assert netc("opt", "", graph).out == graph.read_text(encoding="utf-8")


def test_every_command_refuses_empty_paths(netc: Call) -> None:
    for name in cli.COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        texts = [p for p in command.params if isinstance(p, click.Option) and p.metavar in ("FILE", "DIR", "PATH")]
        for option in texts:
            result = netc(name, option.opts[0], "")
            assert (result.code, result.err) == (2, f"error: {'/'.join(option.opts)} is empty\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compile", "NET", "--emit", "graph", "-o", "NET"],
        ["compile", "NET", "--weights", "NET", "-o", "NET"],
        ["grad", "NET", "--loss", "hinge", "-o", "NET"],
        ["train", "NET", "--emit", "graph", "-o", "NET"],
        ["quantize", "NET", "-o", "NET", "--dynamic-range"],
        ["quantize", "NET", "-o", "NET", "--calibrate", "mnist"],
        ["check", "NET", "--target", "edgetpu", "--report", "NET"],
        ["opt", "cse", "NET", "-o", "NET"],
        ["import", "NET", "-o", "NET"],
    ],
)
def test_no_result_takes_the_place_of_its_source(netc: Call, tiny: Path, arguments: list[str]) -> None:
    before = tiny.read_bytes()
    result = netc(*(str(tiny) if a == "NET" else a for a in arguments))
    assert result.code == 2
    assert result.err.startswith(f"error: {tiny} would replace what it is made from\n")
    assert tiny.read_bytes() == before


def test_graphs_in_text_form_may_be_rewritten_in_place(netc: Call, graph: Path) -> None:
    result = netc("opt", "cse", graph, "-o", graph)
    assert (result.code, result.err) == (0, "")
    assert graph.read_text(encoding="utf-8").startswith("graph @")
