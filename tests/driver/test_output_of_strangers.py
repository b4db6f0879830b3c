"""The command line with names that obey no rules, and with nobody who reads what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import netc.cli as command_line
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.tflite import to_tflite
from netc.compiler.types import DType, TensorType

from .conftest import Call

EVIL = "\x1b[2J\x1b]0;pwned\x07\x9b31m\nerror: forged\u202e"
SHOWN = r"\x1b[2J\x1b]0;pwned\x07\x9b31m\nerror: forged\u202e"
DRIVER = Path(command_line.__file__ or "").parent


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A TFLite file whose tensors have names that a terminal obeys."""
    b = GraphBuilder("evil")
    x = b.input(f"in{EVIL}", TensorType(DType.F32, (1, 4)))
    y = b.emit("dense", x, b.constant(np.ones((4, 3), np.float32)), name=f"out{EVIL}")
    path = tmp_path / "evil.tflite"
    path.write_bytes(to_tflite(b.finish((y,)), {}))
    return path


def assert_harmless(text: str) -> None:
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert not re.search("^error: forged", text, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "FILE"),
        ("show", "FILE", "--json"),
        ("check", "FILE"),
        ("check", "FILE", "--target", "edgetpu"),
        ("compile", "FILE", "--emit", "graph"),
        ("compile", "FILE", "--emit", "loops"),
        ("compile", "FILE", "--emit", "llvm"),
        ("bench", "FILE", "--seconds", "0", "--profile", "--threads", "1"),
        ("run", "FILE"),
        ("quantize", "FILE", "--calibrate", "none"),
    ],
)
def test_names_are_escaped(netc: Call, evil: Path, command: tuple[str, ...]) -> None:
    result = netc(*(evil if part == "FILE" else part for part in command))
    assert result.code in (0, 2)
    assert_harmless(result.out + result.err)


def test_names_are_shown(netc: Call, evil: Path) -> None:
    assert SHOWN in netc("show", evil).out


def test_names_of_files_are_escaped(netc: Call, tmp_path: Path) -> None:
    path = tmp_path / f"a{EVIL}b.net"
    path.write_text("net t(x: f32[N]) { return rellu(x) }")
    for command in (("show", path), ("check", path), ("show", f"{path}x.net"), ("opt", "cse", path), (path,)):
        result = netc(*command)
        assert result.code == 2
        assert_harmless(result.out + result.err)


def test_reports_as_pages_are_escaped(netc: Call, evil: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert netc("check", evil, "--target", "edgetpu", "--report", report).code == 0
    assert_harmless(report.read_text("utf-8"))


def test_all_output_takes_one_way() -> None:
    """Only `netc.output` knows how text leaves netc; bars and pages escape for themselves."""
    for path in DRIVER.rglob("*.py"):
        if path.name != "output.py":
            assert "click.echo(" not in path.read_text("utf-8"), f"{path} should call netc.output.echo"


# ---- nobody reads ---------------------------------------------------------------------------------------------------


def run_unread(*arguments: object, unbuffered: bool, stream: str = "stdout") -> int:
    """The exit code of a command whose output has no reader any more."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writer}
    try:
        command = [sys.executable, "-m", "netc", *map(str, arguments)]
        return subprocess.run(command, env=environment, check=False, **options).returncode
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [("show", "resnet18"), ("--help",), ("show", "--help")])
def test_unread_output_is_141(arguments: tuple[str, ...]) -> None:
    for unbuffered in (False, True):
        assert run_unread(*arguments, unbuffered=unbuffered) == 141


def test_an_unread_message_is_141() -> None:
    assert run_unread("show", "resnet5", unbuffered=False, stream="stderr") == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early(unbuffered: str) -> None:
    command = [sys.executable, "-m", "netc", "compile", "resnet18", "--emit", "llvm"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
