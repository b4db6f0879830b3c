"""What must hold of networks of layers: the right numbers, and the same bits however work is shared out.

Whole batches and turns of one sample, one thread and several, and memory that ends at a forbidden page give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netc.compiler.backends import backend_of, find_target, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph import Array, Graph, evaluate
from netc.compiler.lowering import lower
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import SplitBatch, pipelines, run
from netc.compiler.precision import BF16, F16, F32
from netc.compiler.targets.target import Target
from netc.runtime.host import runs_here
from netc.runtime.program import Program

from .checks import WrongError
from .guarded import run_guarded
from .layers import draw_layers
from .maker import Network
from .meaning import distances
from .quantized import check_litert, integer_network
from .source import Source, choice
from .trials import Trial

PROCESSORS = (
    *("host", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "skylake-avx512", "cascadelake", "icelake-server"),
    *("sapphirerapids", "znver3", "znver4", "cortex-a76"),
)
"""Where code doesn't run here, its loops are verified all the same."""
BOUNDS = {F32: 1e-4, F16: 1e-2, BF16: 6e-2}
"""How far elements may lie from what they mean, by the largest one: sums are rounded, and so are their parts."""
CLOSER = {F32: 1e-4, F16: 1e-4, BF16: 3e-2}
"""The same where the graph says what is rounded: numbers on the border of two of 16 bits may become either."""


@dataclass(frozen=True)
class Layered:
    """How a network is computed; `ways` are threads and samples of a turn, 0 for what the estimate says."""

    cpu: str
    precision: str
    ways: Sequence[tuple[int, int]]

    def check(self, network: Network) -> None:
        """Raise `WrongError` where a number, or a bit, isn't what it should be."""
        target = find_target(self.cpu)
        assert target is not None
        runs = runs_here(target)
        expected = evaluate(network.graph, network.inputs, network.params)
        graph = optimize(network.graph, pipelines.INFERENCE, target, precision=self.precision)
        meant = evaluate(graph, network.inputs, network.params)
        _compare(f"{self.cpu}, {self.precision}, after passes", meant, expected, BOUNDS[self.precision])
        first: list[Array] | None = None
        for threads, group in self.ways:
            what = f"{self.cpu}, {self.precision}, {threads} threads, turns of {group or 'any number of'} samples"
            for results in self._results(graph, target, threads, group, network) if runs else ():
                _compare(what, results, meant, CLOSER[self.precision])
                first = first or results
                if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results, first, strict=True)):
                    raise WrongError(f"{what}: other bits than {self.ways[0]} gives")
            if not runs:
                verify_module(_lowered(graph, target, threads, group))

    def _results(self, graph: Graph, target: Target, threads: int, group: int, network: Network) -> list[list[Array]]:
        module = _lowered(graph, target, threads, group)
        verify_module(module)
        code = object_code(emit_module(module, target), target)
        inputs = list(network.inputs.values())
        with Program(module, code, target, threads, network.params) as program:
            return [run_guarded(program, inputs, at_end=at_end) for at_end in (True, False)]


def _lowered(graph: Graph, target: Target, threads: int, group: int) -> Module:
    """The loops; with turns of so many samples wherever that is possible."""
    split = SplitBatch(group=group) if group else SplitBatch(cache=target.l2_bytes, threads=threads)
    return lower(run(graph, (split,)), target, threads, backend_of(target).schedules)


def _compare(what: str, results: Sequence[Array], wanted: Sequence[Array], bound: float) -> None:
    for number, (result, right) in enumerate(zip(results, wanted, strict=True)):
        if result.dtype.kind != "f":
            bound = 0
        size = max(float(np.abs(right.astype(np.float64)).max(initial=0)), 1e-3)
        error = float(distances(result, right).max(initial=0)) / size
        if error > bound:
            place = np.unravel_index(int(np.argmax(distances(result, right))), right.shape)
            raise WrongError(f"{what}: output {number} is off by {error:.3g} of {size:.3g} at {list(map(int, place))}")


def _draw_way(source: Source, precisions: Sequence[str]) -> Layered:
    ways = ((1, 0), (choice(source, (2, 3)), 0), (choice(source, (1, 2)), 1))
    return Layered(choice(source, PROCESSORS), choice(source, precisions), ways)


def layered(source: Source) -> Trial:
    """A network of layers in floats, of which products may have fewer bits."""
    network = draw_layers(source)
    way = _draw_way(source, (F32, BF16, F32, BF16, F16))
    return Trial("layers of floats", network, lambda: way.check(network))


def layered_integers(source: Source) -> Trial:
    """A network of layers in 8-bit integers, in LiteRT, too; in floats, where it has no such form."""
    floats = draw_layers(source, integers=True)
    network = integer_network(floats) or floats
    way = _draw_way(source, (F32,))

    def check() -> None:
        way.check(network)
        if network is not floats:
            check_litert(network)

    return Trial("layers without integers" if network is floats else "layers of integers", network, check)


def draw_layered(source: Source) -> Trial:
    """A trial of either kind."""
    return choice(source, (layered, layered_integers))(source)
