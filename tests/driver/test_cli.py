"""The command line as a whole: exit codes, one message for each failure, stdout and stderr kept apart."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from netc import cli
from netc.compiler.backends import known_passes
from netc.compiler.errors import InternalError

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


# ---- surroundings, and what all commands refuse ----------------------------------------------------------------------


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
        ["compile", "mlp_mnist", "--target", "edgetpu", "--calibrate", "NET", "-o", "NET"],
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
