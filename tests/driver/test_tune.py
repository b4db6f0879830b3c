"""`netc tune`: the search with measurements that are made up, its files, and the command."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc as library
from netc.compiler.errors import NetcError
from netc.compiler.lowering.choices import Choice, Chosen, Decision, Kernel, NetworkChoices, Survey
from netc.compiler.lowering.group import Setting
from netc.pipeline import PROGRAM, Request, build, load_program, tuned_place
from netc.runtime import tuned
from netc.tuning import measuring, tune
from netc.tuning.search import Outcome, Record, Search
from netc.tuning.statistics import Comparison, judge

from .conftest import Call

TILES: tuple[Setting, ...] = ((6, 2, 16), (4, 2, 16), (3, 4, 16))
ROUNDS = 21


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


# ---- what schedules ask ---------------------------------------------------------------------------------------------


def survey_of(graph: library.Graph, choices: Mapping[str, Choice] | None = None) -> tuple[Survey, str]:
    survey = Survey(choices or {})
    c = build(Request(graph, threads=2, cpu="skylake-avx512", choices=survey), "loops")
    return survey, str(c.module)


def test_a_survey_changes_nothing(wide: library.Graph) -> None:
    survey, text = survey_of(wide)
    assert text == str(build(Request(wide, threads=2, cpu="skylake-avx512"), "loops").module)
    asked = {name for kernel in survey.kernels.values() for name in kernel.decisions}
    assert asked == {"algorithm", "tile", "outer loop", "sweeps", "blocks", "run"}
    assert all(d.default in d.alternatives for k in survey.kernels.values() for d in k.decisions.values())
    assert sum(kernel.calls for kernel in survey.kernels.values()) == len(survey.calls)


def test_choices_that_no_longer_fit_are_passed_over(wide: library.Graph) -> None:
    survey, text = survey_of(wide)
    stale: dict[str, Choice] = {}
    for problem, kernel in survey.kernels.items():
        others = {name: Chosen("gone", d.others[0]) for name, d in kernel.decisions.items() if d.others}
        stale[problem] = Choice({**others, "tile": Chosen(kernel.decisions["tile"].default, (99, 99, 7))} if "tile" in
                                kernel.decisions else others)  # fmt: skip
    assert survey_of(wide, stale)[1] == text


def test_names_of_problems_leave_numbers_out(wide: library.Graph) -> None:
    problems = {"one": "", "two": ""}
    for name in problems:
        text = f"net a(x: f32[1, 8, 8, 16]) {{ return (x |> conv(16, 1)) * {len(name)}{'0' if name == 'two' else ''} }}"
        survey, _ = survey_of(_net(text))
        problems[name] = next(p for p, k in survey.kernels.items() if "tile" in k.decisions)
    assert problems["one"] == problems["two"]


def _net(text: str) -> library.Graph:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.net"
        path.write_text(text, encoding="utf-8")
        return library.load(path)


@pytest.fixture(scope="module")
def wide() -> library.Graph:
    """All that is asked: 3x3 with and without Winograd's filtering, 1x1, depthwise."""
    return _net(
        "net wide(image: f32[1, 28, 28, 32]) {\n"
        "  return image |> conv(64, 3) |> conv(64, 3, groups = 64) |> conv(32, 1) |> relu |> conv(64, 3, 2)\n}\n"
    )


def every_choice(graph: library.Graph) -> list[NetworkChoices]:
    """For each rank the choices of that alternative, or the last one, for all decisions of all kernels."""
    survey = Survey({})
    build(Request(graph, threads=2, choices=survey), "loops")
    most = max(len(d.others) for k in survey.kernels.values() for d in k.decisions.values())
    found = []
    for rank in range(0, most, max(1, most // 4)):
        chosen = {
            problem: Choice(
                {
                    n: Chosen(d.default, d.others[min(rank, len(d.others) - 1)])
                    for n, d in k.decisions.items()
                    if d.others
                }
            )
            for problem, k in survey.kernels.items()
        }
        found.append(NetworkChoices(chosen))
    return found


def outputs(graph: library.Graph, choices: NetworkChoices, x: Any) -> Any:
    c = build(Request(graph, threads=2, choices=choices), PROGRAM)
    with load_program(c) as program:
        return program(x)


def test_floats_are_the_same_whatever_is_chosen(wide: library.Graph) -> None:
    x = np.random.default_rng(0).standard_normal((1, 28, 28, 32)).astype(np.float32)
    wanted = outputs(wide, NetworkChoices({}), x)
    for choices in every_choice(wide):
        direct = {p: c for p, c in choices.by_problem.items() if "algorithm" not in c.decisions}
        assert np.array_equal(outputs(wide, NetworkChoices(direct), x), wanted)
        np.testing.assert_allclose(outputs(wide, choices, x), wanted, atol=1e-4 * float(np.abs(wanted).max()))


def test_integers_are_the_same_whatever_is_chosen(wide: library.Graph) -> None:
    samples = np.random.default_rng(0).standard_normal((4, 28, 28, 32)).astype(np.float32)
    graph = library.quantize(wide, calibration=list(samples[:, None]), weights=None)
    x = np.random.default_rng(1).integers(-128, 128, (1, 28, 28, 32)).astype(np.int8)
    wanted = outputs(graph, NetworkChoices({}), x)
    found = every_choice(graph)
    assert len(found) > 1
    for choices in found:
        assert np.array_equal(outputs(graph, choices, x), wanted)


# ---- files and the command ------------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are compared in a few rounds, with times that are made up: any choice makes everything faster."""
    monkeypatch.setattr(measuring, "_in_turns", lambda both, run, *rest: _faster(both, run))


def _faster(both: tuple[Any, Any], run: Any) -> list[tuple[Any, Any]]:
    times = []
    for built in both:
        found, factor = run(built), 0.5 if built.survey.by_problem else 1.0
        times.append(factor if isinstance(found, float) else dict.fromkeys(found, factor))
    return [(times[0], times[1])] * ROUNDS


def stored(folder: Path, suffix: str) -> list[Path]:
    return sorted((folder / "tuned").glob(f"*{suffix}"))


def test_what_is_kept_is_compiled_from_then_on(netc: Call, tiny: Path, own_cache: Path, quick: None) -> None:
    x = np.random.default_rng(0).standard_normal((1, 12, 12, 1)).astype(np.float32)
    with library.compile(tiny, threads=1) as before:
        wanted = before(x)
        default = before.packed_weights.nbytes
    result = netc("tune", tiny, "--threads", 1, "--json")
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert summary["kept"]
    assert summary["complete"]
    assert [a["algorithm"] for a in summary["algorithms"]] == ["winograd"]
    with library.compile(tiny, threads=1) as after:  # not the saved program from before
        assert after.packed_weights.nbytes > default  # Winograd's filters
        np.testing.assert_allclose(after(x), wanted, rtol=1e-4)
    with library.compile(tiny, threads=1) as saved:
        assert saved.packed_weights.nbytes > default
    with library.compile(tiny, threads=2) as other:
        assert other.packed_weights.nbytes == default
    assert "kernels as `netc tune` found them" in netc("compile", tiny, "--threads", 1).out
    emitted = netc("compile", tiny, "--threads", 1, "--emit", "loops").out
    assert emitted == netc("compile", tiny, "--threads", 1, "--emit", "loops").out
    assert netc("tune", tiny, "--threads", 1, "--forget").out == "forgotten\n"
    assert netc("tune", tiny, "--threads", 1, "--forget").out == "there was nothing to forget\n"
    with library.compile(tiny, threads=1) as again:
        assert again.packed_weights.nbytes == default
    assert emitted == netc("compile", tiny, "--threads", 1, "--emit", "loops").out


def test_the_report(netc: Call, tiny: Path, own_cache: Path, quick: None) -> None:
    result = netc("tune", tiny, "--threads", 1)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].startswith("tiny, batch 1, 1 thread, ")
    assert "kernel" in result.out
    assert "1000.00 ms before" in result.out or "1.00 s before" in result.out
    assert "whole network: " in result.out.splitlines()[-1]
    again = netc("tune", tiny, "--threads", 1)
    assert again.out.splitlines()[-1] == "whole network: what is faster is kept already"


def test_a_search_can_be_interrupted(
    netc: Call, tiny: Path, own_cache: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare, count = measuring.ProgramMeasurer.compare, [0]

    def interrupted(self: Any, *given: Any) -> Comparison:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return compare(self, *given)

    monkeypatch.setattr(measuring.ProgramMeasurer, "compare", interrupted)
    result = netc("tune", tiny, "--threads", 1)
    assert (result.code, result.out) == (130, "")
    assert result.err.rstrip() == "interrupted: what was measured is kept, and the next search goes on from there"
    assert not stored(own_cache, tuned.CHOICES)
    measured = json.loads(stored(own_cache, tuned.MEASURED)[0].read_bytes().split(b"\n", 1)[1])
    assert measured["ratios"]
    assert netc("tune", tiny, "--threads", 1).code == 0


def test_damaged_files_are_said(netc: Call, tiny: Path, own_cache: Path, quick: None) -> None:
    assert netc("tune", tiny, "--threads", 1).code == 0
    (choices,), (measured,) = stored(own_cache, tuned.CHOICES), stored(own_cache, tuned.MEASURED)
    for path in (choices, measured):
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=r"the tuning file .* is damaged: the network is compiled without"):
        build(Request(tiny, threads=1), PROGRAM)
    result = netc("tune", tiny, "--threads", 1)
    assert result.code == 0
    assert f"note: the tuning file {measured} is damaged: all is measured anew" in result.err
    assert f"note: the tuning file {choices} is damaged: it isn't used" in result.err
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build(Request(tiny, threads=1), PROGRAM).choices is not None


def test_results_of_another_processor_are_not_used(netc: Call, tiny: Path, own_cache: Path, quick: None) -> None:
    assert netc("tune", tiny, "--threads", 1).code == 0
    place = tuned_place(build(Request(tiny, threads=1), "graph"))
    (path,) = stored(own_cache, tuned.CHOICES)
    foreign = replace(place, machine="0" * len(place.machine))
    path.rename(path.with_name(f"{foreign.stem}{tuned.CHOICES}"))
    assert build(Request(tiny, threads=1), PROGRAM).choices is None
    result = netc("tune", tiny, "--threads", 1)
    assert "there is a result for this network on another processor, or by another netc" in result.err
    with pytest.raises(NetcError, match="is damaged"):  # it was written for another place
        tuned.read(foreign, tuned.CHOICES)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nothing_of_the_kind",), "nothing_of_the_kind"),
        (("{}", "--budget", "soon"), "--budget takes a time, not `soon`"),
        (("{}", "--budget", "0"), "--budget takes a time, not `0`"),
        (("{}", "--budget", "1ms"), "--budget takes a time, not `1ms`"),
    ],
)
def test_mistakes_are_said(netc: Call, tiny: Path, own_cache: Path, arguments: tuple[str, ...], problem: str) -> None:
    result = netc("tune", *(each.format(tiny) for each in arguments))
    assert result.code == 2
    assert problem in result.err
    assert result.err.count("error:") == 1


def test_saved_programs_and_caches_that_are_off_are_refused(
    netc: Call, tiny: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tiny.with_suffix(".netc")
    assert netc("compile", tiny, "-o", saved).code == 0
    assert "is a saved program, whose code is made" in netc("tune", saved).err
    own_cache.mkdir(exist_ok=True)
    os.chmod(own_cache, 0o777)
    result = netc("tune", tiny)
    assert result.code == 2
    assert "results of tuning can't be kept: " in result.err
    monkeypatch.setenv("NETC_CACHE_BYTES", "0")
    assert "which NETC_CACHE_BYTES turns off" in netc("tune", tiny).err


def test_graphs_are_tuned_from_python(own_cache: Path, quick: None, wide: library.Graph) -> None:
    found = library.tune(wide, threads=1, budget=60)
    assert found.outcome.kept
    assert found.network == "wide"
    with library.compile(wide, threads=1) as program:
        assert program._compilation.choices is not None
        assert len(program._compilation.choices) == len(found.outcome.best)
