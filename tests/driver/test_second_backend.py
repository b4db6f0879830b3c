"""A second backend that owns nothing but its text: it is reached as the first is, and the first doesn't know of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from netc.compiler import backends
from netc.compiler.backends import BACKENDS, Backend, backend_of, find_target, register
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.lowering import Schedules
from netc.compiler.lowering.generic import schedule_generic
from netc.compiler.lowering.margins import schedule_relayout
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.targets.cpus import CPUS
from netc.compiler.targets.target import Target
from netc.pipeline import Request, build, load_program
from netc.runtime.weights import initial_weights

from .conftest import Call

NET = """
net tiny(image: f32[N, 16, 16, 16]) { return image |> conv(32, 3) |> relu |> flatten |> dense(5) }
"""
PAPER = Target("paper-unknown-none", "paper", "", 4, 16, 32768, 524288, has_fma=False, backend="listing")


class Listing(Backend):
    """Writes loops on paper."""

    name = "listing"
    schedules = Schedules((schedule_relayout, schedule_generic))

    @property
    def target_names(self) -> Collection[str]:
        return (PAPER.cpu,)

    def find_target(self, name: str) -> Target | None:
        return PAPER if name == PAPER.cpu else None

    def emit(self, module: Module, target: Target) -> str:
        return f"; for {target}\n{module}"


@pytest.fixture
def listing() -> Iterator[Backend]:
    backend = Listing()
    register(backend)
    yield backend
    del BACKENDS[backend.name]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.net"
    path.write_text(NET)
    return path


def convolution(graph: Graph) -> str:
    """The line of the graph with the convolution."""
    return next(line for line in str(graph).splitlines() if "conv2d(" in line)


def test_a_network_is_built_for_it(listing: Backend, net: Path) -> None:
    c = build(Request(str(net), threads=2, cpu="paper"))
    assert c.target is PAPER
    assert c.object.code.decode() == c.llvm == f"; for paper (paper-unknown-none)\n{c.module}"
    weights = initial_weights(c.graph, 0)
    images = [np.random.default_rng(0).standard_normal((1, 16, 16, 16), np.float32)]
    (meant,) = evaluate(c.graph, images, weights)
    np.testing.assert_allclose(run_module(c.module, images, weights)[0], meant, rtol=1e-4, atol=1e-5)


def test_its_graphs_have_no_algorithms_and_layouts(listing: Backend, net: Path) -> None:
    own = build(Request(str(net), cpu="paper"), until="optimized").optimized
    cpu = build(Request(str(net), cpu="skylake-avx512"), until="optimized").optimized
    assert " by " not in convolution(own)
    assert "relayout" not in str(own)
    assert re.search(r" by winograd\w*\[4,4\] : ", convolution(cpu))


def test_people_reach_it_by_the_name_of_its_machine(listing: Backend, net: Path, netc: Call) -> None:
    assert netc("compile", net, "--cpu", "paper", "--emit", "object").out.startswith("; for paper")
    result = netc("compile", net, "--cpu", "paper", "--emit", "asm")
    assert result.code == 2
    assert "there is no assembly for paper (paper-unknown-none)" in result.err


def test_what_it_writes_is_not_run_here(listing: Backend, net: Path) -> None:
    with pytest.raises(NetcError, match="can't run code for paper"):
        load_program(build(Request(str(net), cpu="paper")))


def test_code_is_written_unless_a_backend_loads_it(listing: Backend) -> None:
    with pytest.raises(NetcError, match=r"code for paper .* is written, not run here"):
        listing.load(b"", PAPER, ())


def test_weights_are_packed_for_it(listing: Backend, net: Path) -> None:
    c = build(Request(str(net), cpu="paper"), until="loops")
    blob = listing.package(c.module, initial_weights(c.graph, 0))
    assert blob.nbytes == c.module.weights_bytes > 0


def test_names_are_found_among_all_backends(listing: Backend) -> None:
    assert backend_of(PAPER) is listing
    assert find_target("paper") is PAPER
    assert find_target("znver4") is CPUS["znver4"]
    with pytest.raises(NetcError, match="unknown processor `papr`"):
        find_target("papr")


def test_a_backend_is_registered_once(listing: Backend) -> None:
    with pytest.raises(InternalError, match="there is a backend listing already"):
        register(Listing())


def test_targets_of_unknown_backends_are_refused() -> None:
    with pytest.raises(InternalError, match="names the backend nobody, but there are cpu"):
        backends.lower(Graph("g", (), (), ()), replace(PAPER, backend="nobody"))
