"""The search of `netc tune`, with measurements that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.lowering.choices import Choice, Chosen, Decision, Kernel, NetworkChoices
from netc.compiler.lowering.group import Setting
from netc.tuning import tune
from netc.tuning.search import Outcome, Record, Search
from netc.tuning.statistics import Comparison, judge

from .conftest import ROUNDS

TILES: tuple[Setting, ...] = ((6, 2, 16), (4, 2, 16), (3, 4, 16))


class Made:
    """A network of two kernels with made-up times on a made-up clock; the second kernel has an algorithm, too."""

    def __init__(self, factors: Mapping[tuple[str, str, Setting], float], whole: float | None = None) -> None:
        """`factors` are the ratios of settings, `whole` that of the network with anything but defaults."""
        self.factors, self.whole = factors, whole
        self.now = 0.0
        self.trials: list[str] = []

    def survey(self, choices: NetworkChoices) -> Mapping[str, Kernel]:
        kernels = {name: Kernel(name, 2, {"tile": Decision(TILES[0], TILES)}) for name in ("one", "two")}
        kernels["one"].decisions["block"] = Decision(1, (1, 2))
        kernels["graph"] = Kernel("two", 0, {"algorithm": Decision("direct", ("direct", "winograd"))})
        return kernels

    def seconds(self, problem: str, choices: NetworkChoices) -> float:
        time = 0.0 if problem == "graph" else 0.001
        chosen = choices.by_problem.get(problem, Choice({})).decisions
        for name, c in chosen.items():
            time *= self.factors.get((problem, name, c.setting), 1.0)
        return time

    def total(self, choices: NetworkChoices) -> float:
        if self.whole is not None and len(choices):
            return 0.002 * self.whole
        algorithm = choices.by_problem.get("graph", Choice({})).decisions.get("algorithm")
        factor = self.factors.get(("graph", "algorithm", algorithm.setting), 1.0) if algorithm else 1.0
        return factor * (self.seconds("one", choices) + self.seconds("two", choices))

    def compare(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        self.now += 10
        self.trials.append("kernels")
        kernels = {p: [(self.seconds(p, first), self.seconds(p, second))] * ROUNDS for p in ("one", "two")}
        return Comparison([(self.total(first), self.total(second))] * ROUNDS, kernels)

    def compare_whole(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        self.now += 10
        self.trials.append("whole")
        return Comparison([(self.total(first), self.total(second))] * ROUNDS)


def searched(
    made: Made, record: Record | None = None, present: NetworkChoices | None = None, seconds: float = 1000
) -> Outcome:
    present = present or NetworkChoices({})
    return Search(made, record or Record(), present, clock=lambda: made.now, seconds=seconds).run()


def kept(outcome: Outcome) -> dict[str, dict[str, Setting]]:
    chosen = outcome.best.by_problem if outcome.kept else {}
    return {p: {name: c.setting for name, c in choice.decisions.items()} for p, choice in chosen.items()}


def test_the_best_setting_of_each_kernel_is_kept() -> None:
    factors = {("one", "tile", TILES[1]): 0.9, ("one", "tile", TILES[2]): 0.8, ("two", "tile", TILES[1]): 1.2}
    outcome = searched(Made({**factors, ("one", "block", 2): 0.9}))
    assert kept(outcome) == {"one": {"tile": TILES[2], "block": 2}}
    assert outcome.is_complete
    assert outcome.rows["one"].ratio == pytest.approx(0.72)
    assert (outcome.rows["two"].ratio, outcome.rows["two"].settings) == (1.0, {})


def test_an_algorithm_is_judged_by_the_whole_network() -> None:
    outcome = searched(Made({("graph", "algorithm", "winograd"): 0.7}))
    assert kept(outcome) == {"graph": {"algorithm": "winograd"}}
    assert outcome.algorithms == [("two", "winograd", pytest.approx(0.7))]
    assert not searched(Made({("graph", "algorithm", "winograd"): 1.3})).kept


@pytest.mark.parametrize("whole", [1.0, 1.1, 0.999])
def test_nothing_is_kept_unless_the_whole_network_is_faster(whole: float) -> None:
    made = Made({("one", "tile", TILES[1]): 0.5, ("two", "tile", TILES[1]): 0.5}, whole)
    outcome = searched(made)
    assert not outcome.kept
    assert made.trials[-2:] == ["whole", "whole"]  # all, then the half that saves most
    assert outcome.verdict is not None
    assert outcome.verdict.ratio == pytest.approx(whole)


def test_the_whole_network_is_faster_twice() -> None:
    class Lucky(Made):
        """Whichever program is loaded second is the faster one."""

        def compare_whole(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
            return Comparison([(0.002, 0.001)] * ROUNDS)

    outcome = searched(Lucky({("one", "tile", TILES[1]): 0.5}))
    assert not outcome.kept
    assert outcome.verdict is not None
    assert outcome.verdict.ratio > 1


def test_what_made_it_faster_once_is_dropped_when_it_no_longer_does() -> None:
    present = NetworkChoices({"one": Choice({"tile": Chosen(TILES[0], TILES[1])})})
    outcome = searched(Made({("one", "tile", TILES[1]): 1.5}), present=present)
    assert outcome.kept
    assert len(outcome.best) == 0


def test_what_is_kept_already_is_not_compared_again() -> None:
    made = Made({("one", "tile", TILES[1]): 0.5})
    first = searched(made)
    again = searched(made, present=first.best)
    assert again.is_present
    assert not again.kept


def test_a_search_goes_on_where_it_stopped() -> None:
    record, factors = Record(), {("one", "tile", TILES[2]): 0.8}
    first = Made(factors)
    assert not searched(first, record, seconds=60).is_complete
    count = record.count
    assert 0 < count < 6
    second = Made(factors)
    outcome = searched(second, Record(json.loads(json.dumps(record.ratios))))
    assert outcome.is_complete
    assert kept(outcome) == {"one": {"tile": TILES[2]}}
    whole = Made(factors)
    searched(whole)
    assert len(second.trials) < len(whole.trials)


def test_the_time_is_kept() -> None:
    for seconds in (50, 100, 150):
        made = Made({("one", "tile", TILES[1]): 0.5})
        searched(made, seconds=seconds)
        assert made.now <= seconds + 20  # a trial that had begun, and the last comparison


def test_too_little_time_and_nothing_to_choose_are_said() -> None:
    made = Made({})
    with pytest.raises(NetcError, match="3 s are too few: one trial of net takes 10 s or more"):
        tune.search(made, Record(), NetworkChoices({}), 3, lambda report: None, clock=lambda: made.now, name="net")

    class Bare(Made):
        def survey(self, choices: NetworkChoices) -> Mapping[str, Kernel]:
            return {"one": Kernel("one", 1)}

    with pytest.raises(NetcError, match="there is nothing to tune: no kernel of net has another schedule"):
        tune.search(Bare({}), Record(), NetworkChoices({}), 300, lambda report: None, name="net")


def test_measurements_beside_another_default_are_forgotten() -> None:
    record = Record()
    record.add("one", "tile", TILES[0], TILES[1], judge([(1.0, 0.5)] * 9))
    assert record.known("one", "tile", TILES[0])
    assert not record.known("one", "tile", TILES[2])


def test_verdicts() -> None:
    noise = [(1.0, 0.9), (1.0, 1.1)] * 10
    assert not judge(noise).is_faster(1.0, 0.05)
    assert judge([(1.0, 0.9)] * 20).is_faster(0.95, 0.001)
    assert judge([(1.0, 0.9)] * 3).chance == 0.125
    assert judge([]).ratio == judge([(0.0, 0.0)]).ratio == 1.0
    assert judge([(1.0, 1.0)] * 9).chance == 1.0
