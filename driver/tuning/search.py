"""Which settings of schedules are tried, and which of them are kept.

Kernels are measured where they stand, in the whole network: each trial compiles it with another setting of every kernel
at once and runs it in turns with the default. So a network takes as many trials as its richest kernel has settings.

1. algorithms    decisions that change the graph, one at a time, by the time of the whole network
2. settings      decision after decision of each kernel, the best ones of those before it in place
3. again         the best settings of all kernels at once; those that don't prove themselves once more drop out
4. whole         what is left against what is kept at present, by the time of the whole network: it is kept only if it
                 is faster, twice; else the half that saves most is tried, else nothing changes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from ..compiler.lowering.choices import Choice, Chosen, Decision, Kernel, NetworkChoices
from ..compiler.lowering.group import Setting
from ..runtime.tuned import setting_of
from .statistics import Comparison, Verdict, judge, typical

FASTER, CHANCE = 0.97, 0.05
"""What a setting must reach beside the default to be the best of a kernel; of many that are tried, luck helps a few."""
AGAIN, AGAIN_CHANCE = 0.985, 0.05
"""What it must reach once more, beside all others."""
WHOLE, WHOLE_CHANCE = 0.995, 0.01
"""What the whole network must reach."""
RESERVED = 0.25
"""Part of the time that is left for steps 3 and 4."""
SMALLEST = 0.003
"""Share of the whole time below which a kernel isn't looked at."""
ALGORITHM = "algorithm"
"""The name of a decision that changes the graph."""

T = TypeVar("T")
Chosens = dict[str, dict[str, Chosen]]
"""By kernel and decision."""
Ratios = dict[str, dict[str, dict[str, Any]]]
"""By kernel and decision: `default`, and `ratios`, of each measured setting (as JSON) ratio and chance."""


class Measurer(Protocol):
    """What compiles and runs."""

    def survey(self, choices: NetworkChoices) -> Mapping[str, Kernel]:
        """What is asked when the network is compiled with these choices."""
        ...

    def compare(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        """The times of the kernels of two programs; `share` is how thorough this is, 1 being as much as is of use."""
        ...

    def compare_whole(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        """The times of two programs without a look inside."""
        ...


@dataclass(slots=True)
class Record:
    """What was measured, so that another search goes on from there."""

    ratios: Ratios = field(default_factory=dict)

    def known(self, problem: str, name: str, default: Setting) -> dict[str, list[float]]:
        """The ratios of a decision; none where another default was there."""
        found = self.ratios.setdefault(problem, {}).setdefault(name, {"default": spelled(default), "ratios": {}})
        if found["default"] != spelled(default):
            found |= {"default": spelled(default), "ratios": {}}
        ratios: dict[str, list[float]] = found["ratios"]
        return ratios

    def add(self, problem: str, name: str, default: Setting, setting: Setting, verdict: Verdict) -> None:
        """Note a measurement."""
        self.known(problem, name, default)[spelled(setting)] = [verdict.ratio, verdict.chance]

    @property
    def count(self) -> int:
        """Settings that were measured."""
        return sum(len(d["ratios"]) for decisions in self.ratios.values() for d in decisions.values())


def spelled(setting: Setting) -> str:
    """A setting as a key."""
    return json.dumps(setting, separators=(",", ":"))


@dataclass(slots=True)
class Row:
    """What came out for a kernel."""

    label: str
    calls: int
    seconds: float = 0.0
    """Of all its calls, as the default is."""
    ratio: float = 1.0
    """Of the best settings."""
    settings: dict[str, Setting] = field(default_factory=dict[str, Setting])
    """The best settings, but for the defaults."""


@dataclass(slots=True)
class Outcome:
    """What a search came to."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    """By problem."""
    algorithms: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])
    """Kernels with another algorithm than by default, it, and the ratio of the whole network with it."""
    best: NetworkChoices = field(default_factory=lambda: NetworkChoices({}))
    """What was tried on the whole network last."""
    kept: bool = False
    """The whole network was faster with `best` than as it is compiled at present."""
    before: float = 0.0
    after: float = 0.0
    """Seconds of the whole network as it is compiled at present, and with `best`."""
    verdict: Verdict | None = None
    """On the whole network; None where there was nothing to compare."""
    is_present: bool = False
    """`best` is what the network is compiled with at present."""
    is_complete: bool = False
    """Nothing is left to be measured."""


@dataclass(frozen=True, slots=True)
class Report:
    """Where a search stands."""

    stage: str
    trial: int
    faster: int
    """Kernels for which something faster was found."""


class Search:
    """A search within a time."""

    def __init__(
        self,
        measurer: Measurer,
        record: Record,
        present: NetworkChoices,
        *,
        clock: Callable[[], float],
        seconds: float,
        told: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """`present` is what the network is compiled with so far; `told` is called before each trial."""
        self.measurer, self.record, self.present = measurer, record, present
        self.clock, self.stop = clock, clock() + (1 - RESERVED) * seconds
        self.told = told
        self.outcome = Outcome()
        self.trials = 0
        self.longest = 0.0
        """Seconds of a trial."""
        self.base: Chosens = {}
        """Algorithms, which what settings are compared with has, too."""
        self.best: Chosens = {}
        """Settings by kernel."""

    def run(self) -> Outcome:
        """Search, and say what is to be kept."""
        self._see_times()
        self.outcome.is_complete = self._algorithms() and self._settings()
        self._once_more()
        self._whole()
        return self.outcome

    # ---- 1 and 2 ----

    def _algorithms(self) -> bool:
        """Try each algorithm; True if all are done."""
        done = True
        for problem, kernel in self.measurer.survey(NetworkChoices({})).items():
            decision = kernel.decisions.get(ALGORITHM)
            if decision is None:
                continue
            for setting in decision.others:
                chosen = {ALGORITHM: Chosen(decision.default, setting)}
                known = self.record.known(problem, ALGORITHM, decision.default)
                if spelled(setting) not in known and (done := done and self._has_time()):
                    first, second = _choices(self.base), _choices({**self.base, problem: chosen})
                    found = self._trial("algorithms", partial(self.measurer.compare_whole, first, second, 0.3))
                    self.record.add(problem, ALGORITHM, decision.default, setting, judge(found.whole))
                verdict = Verdict(*known.get(spelled(setting), (1.0, 1.0)))
                if verdict.is_faster(WHOLE, WHOLE_CHANCE):
                    self.base[problem] = chosen
                    self.outcome.algorithms.append((kernel.label, str(setting), verdict.ratio))
        return done

    def _settings(self) -> bool:
        """Try settings of all kernels side by side, decision after decision; True if all are done."""
        if self.base:
            self._see_times()
        settled: set[tuple[str, str]] = set()
        while open_ := self._open_decisions(settled):
            if not self._decide(open_):
                return False
            settled |= {(problem, name) for problem, (name, _) in open_.items()}
        return True

    def _open_decisions(self, settled: Collection[tuple[str, str]]) -> dict[str, tuple[str, Decision]]:
        """Of each kernel that takes time the first decision that isn't settled: those behind may depend on it."""
        total, found = sum(row.seconds for row in self.outcome.rows.values()), dict[str, tuple[str, Decision]]()
        for problem, kernel in self.measurer.survey(_choices(self.base | self.best)).items():
            row = self.outcome.rows.get(problem)
            if row is None or row.seconds < SMALLEST * total:
                continue
            for name, decision in kernel.decisions.items():
                if name != ALGORITHM and decision.others and (problem, name) not in settled:
                    found.setdefault(problem, (name, decision))
        return found

    def _decide(self, decisions: Mapping[str, tuple[str, Decision]]) -> bool:
        """Measure all settings of one decision of each kernel, and take the best; False if the time ends before."""
        done = True
        while trial := self._untried(decisions):
            if not self._has_time():
                done = False
                break
            tried = {problem: dict(chosen) for problem, chosen in (self.base | self.best).items()}
            for problem, setting in trial.items():
                name, decision = decisions[problem]
                tried.setdefault(problem, {})[name] = Chosen(decision.default, setting)
            first, second = _choices(self.base), _choices(tried)
            found = self._trial("settings", partial(self.measurer.compare, first, second, 0.3))
            for problem, setting in trial.items():
                name, decision = decisions[problem]
                verdict = judge(found.kernels.get(problem, ()))
                self.record.add(problem, name, decision.default, setting, verdict)
        for problem, (name, decision) in decisions.items():
            self._take_best(problem, name, decision.default)
        return done

    def _untried(self, decisions: Mapping[str, tuple[str, Decision]]) -> dict[str, Setting]:
        """The next setting of each kernel that wasn't measured yet."""
        trial: dict[str, Setting] = {}
        for problem, (name, decision) in decisions.items():
            known = self.record.known(problem, name, decision.default)
            left = (s for s in decision.others if spelled(s) not in known)
            if (setting := next(left, None)) is not None:
                trial[problem] = setting
        return trial

    def _take_best(self, problem: str, name: str, default: Setting) -> None:
        row = self.outcome.rows[problem]
        verdicts = {key: Verdict(*pair) for key, pair in self.record.known(problem, name, default).items()}
        faster = {key: v for key, v in verdicts.items() if v.is_faster(FASTER, CHANCE) and v.ratio < row.ratio}
        if faster:
            key = min(faster, key=lambda k: faster[k].ratio)
            self.best.setdefault(problem, {})[name] = Chosen(default, setting_of(json.loads(key)))
            row.ratio = faster[key].ratio

    # ---- 3 and 4 ----

    def _once_more(self) -> None:
        """Leave only what is faster again."""
        if not self.best:
            return
        first, second = _choices(self.base), _choices(self.base | self.best)
        found = self._trial("once more", lambda: self.measurer.compare(first, second, 1.0))
        self._note_times(found)
        for problem in list(self.best):
            verdict = judge(found.kernels.get(problem, ()))
            if verdict.is_faster(AGAIN, AGAIN_CHANCE):
                self.outcome.rows[problem].ratio = verdict.ratio
            else:
                del self.best[problem]
                self.outcome.rows[problem].ratio = 1.0

    def _whole(self) -> None:
        """Compare whole networks, and keep what is faster."""
        outcome = self.outcome
        for problem, chosen in (self.base | self.best).items():
            if problem in outcome.rows:
                outcome.rows[problem].settings = {name: c.setting for name, c in chosen.items()}
        for choices in self._candidates():
            outcome.best = choices
            if choices.by_problem == self.present.by_problem:
                outcome.is_present = True
                return
            if self._is_faster(choices):
                outcome.kept = True
                return

    def _is_faster(self, choices: NetworkChoices) -> bool:
        """Whether the whole network is faster, and once more with both programs loaded anew, the other one first."""
        pairs: list[tuple[float, float]] = []
        for first, second in ((self.present, choices), (choices, self.present)):
            found = self._trial("whole network", partial(self.measurer.compare_whole, first, second, 1.0)).whole
            new = found if first is self.present else [(a, b) for b, a in found]
            pairs += new
            self.outcome.verdict = judge(pairs)
            self.outcome.before, self.outcome.after = (typical(seconds) for seconds in zip(*pairs, strict=True))
            if not judge(new).is_faster(WHOLE, WHOLE_CHANCE):
                return False
        return True

    def _candidates(self) -> Iterator[NetworkChoices]:
        """All that is faster; then the half of the kernels that saves most; at last, none."""
        if self.base or self.best:
            yield _choices(self.base | self.best)
        rows = self.outcome.rows
        saving = sorted(self.best, key=lambda p: rows[p].seconds * (rows[p].ratio - 1))
        if len(saving) > 1:
            yield _choices(self.base | {problem: self.best[problem] for problem in saving[: (len(saving) + 1) // 2]})
        if len(self.present):
            yield NetworkChoices({})

    # ---- trials ----

    def _trial(self, stage: str, run: Callable[[], T]) -> T:
        self.told(Report(stage, self.trials, len(self.best) + len(self.base)))
        start = self.clock()
        found = run()
        self.trials += 1
        self.longest = max(self.longest, self.clock() - start)
        return found

    def _has_time(self) -> bool:
        return self.clock() + self.longest <= self.stop

    def _see_times(self) -> None:
        """Find out how long kernels take."""
        base = _choices(self.base)
        self._note_times(self._trial("times", lambda: self.measurer.compare(base, base, 0.1)))

    def _note_times(self, found: Comparison) -> None:
        kernels = self.measurer.survey(_choices(self.base))
        for problem, pairs in found.kernels.items():
            if problem in kernels and kernels[problem].calls:
                row = self.outcome.rows.setdefault(problem, Row(kernels[problem].label, kernels[problem].calls))
                row.seconds = typical([first for first, _ in pairs])


def _choices(chosens: Chosens) -> NetworkChoices:
    return NetworkChoices({problem: Choice(dict(chosen)) for problem, chosen in chosens.items() if chosen})
