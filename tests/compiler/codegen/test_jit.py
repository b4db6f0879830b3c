"""Linking machine code into this process."""

from __future__ import annotations

import subprocess
import sys

import pytest

CROWDED = """
import ctypes
import mmap

import numpy as np

from netc.pipeline import Request, build, load_program

PAGE, WALL = mmap.PAGESIZE, 4 << 30
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def reserve(size):
    return libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)


compilation = build(Request("mlp_mnist", threads=1))
wall = reserve(WALL)
for size in (256 * PAGE, 16 * PAGE, PAGE):
    while (address := reserve(size)) > wall:
        last = address
    libc.munmap(address, size)
libc.munmap(last, PAGE)
with load_program(compilation) as program:
    scores = program(np.zeros((1, 28, 28, 1), np.float32))
print(np.isfinite(scores).all())
"""
"""Fills the address space above a wall of 4 GB, but for one page: sections mapped one by one are torn apart."""


@pytest.mark.skipif(sys.platform != "linux", reason="fills the address space from the top, as Linux does")
def test_sections_stay_together_in_a_large_process() -> None:
    done = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
