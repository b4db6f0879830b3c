"""Random operators and small networks: 500, the same on every run. `benchmarks/random_trials.py` tries more."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.graph.registry import operators
from netc.compiler.types import DType, TensorType
from tests.random_networks import EXCLUDED, RECIPES, Seeded, draw_network
from tests.random_networks.checks import Judge, WrongError
from tests.random_networks.maker import Network, UnfitError
from tests.random_networks.meaning import tolerances
from tests.random_networks.references import REFERENCES, TORCH
from tests.random_networks.refusals import altered, check_refusal
from tests.random_networks.source import Shrinking, Source
from tests.random_networks.trials import Trial, compiled, compiled_gradients, gradients, quantized, references

COUNTS: dict[Callable[[Source], Trial], int] = {
    compiled: 250,
    compiled_gradients: 60,
    gradients: 50,
    quantized: 60,
    references: 80,
}


@pytest.mark.parametrize("draw", COUNTS, ids=lambda draw: draw.__name__)
def test_random_networks(draw: Callable[[Source], Trial]) -> None:
    @settings(
        max_examples=COUNTS[draw],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),  # shrinking takes minutes: the benchmark does it
    )
    @given(st.data())
    def once(data: st.DataObject) -> None:
        trial = draw(Shrinking(data))
        try:
            trial.check()
        except Exception as error:
            error.add_note(str(trial))
            raise

    once()


def test_every_operator_is_drawn_or_excluded() -> None:
    assert set(RECIPES).isdisjoint(EXCLUDED)
    assert set(RECIPES) | set(EXCLUDED) == set(operators())


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, set[str]]]:
    """Of each operator, the values of its attributes in networks made for it."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in RECIPES:
        for seed in range(24):
            for op in draw_network(Seeded(seed), names=(name,)).graph.operations:
                for attribute in ("", *op.attributes):
                    found[op.name][attribute].add(str(op.attributes.get(attribute)))
    return found


def test_every_recipe_gives_its_operator(drawn: dict[str, dict[str, set[str]]]) -> None:
    assert set(RECIPES) <= set(drawn)


def test_every_attribute_has_several_values(drawn: dict[str, dict[str, set[str]]]) -> None:
    same = {
        (name, attribute)
        for name in RECIPES
        for attribute in operators()[name].attributes
        if len(drawn[name][attribute]) < 2
    }
    assert not same


def test_altered_operations_are_refused_or_mean_what_their_types_say() -> None:
    refused = 0
    for name, turn in product(RECIPES, range(8)):
        source = Seeded(zlib.crc32(f"{name} {turn}".encode()))  # the same for an operator, whatever others there are
        network = draw_network(source, names=(name,))
        with suppress(UnfitError):
            refused += not check_refusal(*altered(source, network))
    assert refused > len(RECIPES)


def test_ranks_types_and_sizes() -> None:
    networks = [draw_network(Seeded(seed)) for seed in range(300)]
    types = [v.type for n in networks for op in n.graph.operations for v in op.results]
    assert set(range(7)) <= {t.rank for t in types} <= set(range(8))  # a spectrum has one dimension more
    assert {t.dtype for t in types} == set(DType)
    assert {s for t in types for s in t.shape} >= {0, 1, 2, 3, 5, 7, 16, 17}
    outputs = [(n.graph, v) for n in networks for v in n.graph.outputs]
    assert any(v in graph.inputs for graph, v in outputs)
    assert any(graph.producers[v].name == "param" for graph, v in outputs if v not in graph.inputs)


def test_a_seed_gives_one_network() -> None:
    first, again = (draw_network(Seeded(17)) for _ in range(2))
    assert repr(first) == repr(again)


def test_rounding_is_found_and_whole_numbers_are_exact() -> None:
    def network(scale: float) -> Network:
        b = GraphBuilder("sum")
        x = b.input("x", TensorType(DType.F32, (2, 64)))
        x_array = (np.arange(128, dtype=np.float32) * np.float32(scale)).reshape(2, 64)
        return Network(b.finish([b.emit("reduce_sum", x)]), {"x": x_array}, {})

    whole, fractions = network(1), network(0.1)
    assert tolerances(whole, evaluate(whole.graph, whole.inputs)) == [0]
    (allowed,) = tolerances(fractions, evaluate(fractions.graph, fractions.inputs))
    assert 1e-5 < allowed < 1e-2


def test_what_is_no_number_is_to_be_none_and_hides_nothing() -> None:
    """0 / 0 beside sums that may be rounded otherwise, and beside infinity."""
    b = GraphBuilder("quotients")
    x, y = (b.input(name, TensorType(DType.F32, (3,))) for name in "xy")
    given = {"x": np.array([0, 1, 0.3], np.float32), "y": np.array([0, 0, 0.7], np.float32)}
    with np.errstate(all="ignore"):
        judge = Judge(Network(b.finish([b.emit("div", x, y)]), given, {}))
        right = np.array([np.nan, np.inf, np.float32(0.3) / np.float32(0.7)], np.float32)
        judge.check("the same", [right])
        judge.check("rounded otherwise", [right * np.float32(1 + 2e-7)])
        for place, wrong in ((0, 0), (1, np.nan), (1, -np.inf), (2, 0.43), (2, np.nan)):
            with pytest.raises(WrongError, match=rf"differs .* at \[{place}\]"):
                judge.check("wrong", [np.where(np.arange(3) == place, np.float32(wrong), right)])


@pytest.mark.parametrize(("normal", "exact"), [(False, True), (True, False)])
def test_normal_numbers_may_differ_by_their_logarithms(normal: bool, exact: bool) -> None:
    b = GraphBuilder("drawn")
    counter = b.constant(np.array(8, np.int64))
    drawn = b.emit("seeded_numbers", counter, shape=(4, 9), normal=normal, seed=1, seed2=2)
    network = Network(b.finish([drawn]), {}, {})
    (allowed,) = tolerances(network, evaluate(network.graph, {}))
    assert (allowed == 0) is exact


def test_most_operators_have_a_reference() -> None:
    plain = [n for n, o in operators().items() if not o.non_differentiable and n in RECIPES]
    without = {n for n in plain if n not in REFERENCES and "gradient" not in n}
    assert len(without) < len(plain) / 4 or TORCH is None
