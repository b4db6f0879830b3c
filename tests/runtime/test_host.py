"""This machine: its own code runs here, that of wider or other machines does not."""

from dataclasses import replace

from netc.compiler.codegen.target import DotProduct, Target
from netc.runtime.host import available_cores, physical_memory, runs_here


def test_a_process_has_a_core() -> None:
    assert available_cores() >= 1


def test_there_is_memory() -> None:
    assert physical_memory() >= 1 << 28


def test_what_runs_here() -> None:
    host = Target.host()
    assert runs_here(host)
    assert runs_here(replace(host, dot_product=DotProduct.NONE, has_fma=False, vector_lanes=4))
    assert not runs_here(replace(host, vector_lanes=2 * host.vector_lanes))
    assert not runs_here(replace(host, triple="riscv64-unknown-linux-gnu"))
    assert not runs_here(replace(host, triple=host.triple.split("-")[0] + "-pc-windows-msvc"))
