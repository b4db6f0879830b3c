"""What tests of built libraries share: compilers of C, and a net with a state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from netc.toolchain import has_ziglang

CC = shutil.which("cc")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_ziglang = pytest.mark.skipif(not has_ziglang(), reason="ziglang is not installed")
STATE = """
graph @acc(%x: f32[1,4]) -> (f32[1,4], f32[1,4]) attributes {updates = ["sum"]} {
  %sum = param {trainable = false, value = dense<0.5>} : f32[1,4]
  %0 = add(%sum, %x) : f32[1,4]
  return %0, %0
}
"""


def cc(folder: Path, *arguments: str, warnings: bool = True) -> None:
    given = [str(CC), "-std=c99", "-O1", *(WARNINGS if warnings else ()), *arguments]
    done = subprocess.run(given, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
