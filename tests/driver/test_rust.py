"""Libraries of `netc build` in Rust, by the commands and the program of docs/libraries.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import netc

from .conftest import Call

PAGE = Path(__file__).resolve().parents[2] / "docs/libraries.md"
TOOLS = ("bindgen", "rustc", "cc")


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}")
def test_the_program_of_the_page_runs(netc: Call, tiny: Path, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```rust\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "main.rs").write_text(program, encoding="utf-8")
    assert netc("build", tiny, "--prefix", "net", "-o", tmp_path / "out").code == 0
    for tool in ("bindgen", "rustc"):
        (command,) = re.findall(rf"^\$ ({tool} .*)$", page, re.MULTILINE)
        done = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    printed = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    expected = answer(tiny)
    np.testing.assert_array_equal(np.float32(json.loads(printed)), expected)


def answer(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What Python computes of a grey picture."""
    return np.asarray(netc.compile(path, threads=1)(np.full((1, 12, 12, 1), 0.5, np.float32)))[0]
