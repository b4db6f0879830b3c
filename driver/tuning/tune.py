"""`netc.tune`: a search for a network on this machine, and what becomes of its results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..compiler.errors import NetcError
from ..compiler.lowering.choices import NetworkChoices
from ..compiler.ops.opaque import runnable
from ..compiler.precision import F32
from ..loading import Source, Weights
from ..pipeline import Compilation, Request, build, tuned_place
from ..runtime import tuned
from ..runtime.saved import begins_like_saved
from .measuring import ProgramMeasurer
from .search import Measurer, Outcome, Record, Report, Row, Search

BUDGET = 300.0
"""Seconds that a search takes unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a search came to, and what it was about."""

    network: str
    cpu: str
    threads: int
    batch: int
    precision: str
    outcome: Outcome
    measured: int
    """Settings of kernels whose times are known."""
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """The kernels, those that take most time first."""
        return sorted(self.outcome.rows.values(), key=lambda row: -row.seconds)

    def summary(self) -> dict[str, Any]:
        """All of it for tools."""
        o = self.outcome
        return {
            "net": self.network,
            "cpu": self.cpu,
            "threads": self.threads,
            "batch": self.batch,
            "precision": self.precision,
            "complete": o.is_complete,
            "measured": self.measured,
            "kept": o.kept,
            "unchanged": o.is_present,
            "before_ms": o.before * 1e3,
            "after_ms": o.after * 1e3,
            "whole": None if o.verdict is None else asdict(o.verdict),
            "kernels": [
                {
                    "label": row.label,
                    "calls": row.calls,
                    "default_ms": row.seconds * 1e3,
                    "best_ms": row.seconds * row.ratio * 1e3,
                    "choice": row.settings,
                }
                for row in self.rows
            ],
            "algorithms": [
                {"label": label, "algorithm": name, "whole_ratio": ratio} for label, name, ratio in o.algorithms
            ],
            "notes": list(self.notes),
        }


def tune(
    source: Source,
    *,
    weights: Weights = None,
    batch: int = 1,
    threads: int | None = None,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: str = F32,
    budget: float = BUDGET,
    progress: Callable[[Report], None] | None = None,
) -> Tuning:
    """Search the schedules of a network by measurement, and keep those with which the whole network is faster.

    The arguments are those of `netc.compile`; a network that is quantized on the way is given as its graph
    (`program.graph`). `budget` is how many seconds this may take, `progress` is called before each trial. What is kept
    lies in the cache, and `netc.compile` and all commands that run the network use it from then on, on this processor
    with as many threads. What was measured lies there, too: another call goes on from it.

    Results stay what they were: bit for bit, unless Winograd's filtering comes or goes, which rounds otherwise.

    Raises `NetcError` for what the caller can cure.
    """
    end = time.monotonic() + budget
    c = network_of(source, weights, batch, threads, net, settings, seed, precision)
    place = tuned_place(c)
    notes = _notes(place)
    record, present = _record(place, notes), _present(place, notes)
    tuned.write(place, tuned.MEASURED, _content(record, c))  # it is better to know at once that this is impossible

    def told(report: Report) -> None:
        tuned.write(place, tuned.MEASURED, _content(record, c))
        if progress is not None:
            progress(report)

    measurer = ProgramMeasurer(c)
    try:
        outcome = search(measurer, record, present, end - time.monotonic(), told, name=c.graph.name)
    finally:
        tuned.write(place, tuned.MEASURED, _content(record, c))
        measurer.close()
    if outcome.kept:
        tuned.write(place, tuned.CHOICES, {**_about(c), "kernels": tuned.plain_choices(outcome.best)})
    r = c.request
    about = (c.graph.name, c.target.cpu, c.threads, c.batch, r.precision)
    return Tuning(*about, outcome, record.count, tuple(notes))


def search(
    measurer: Measurer,
    record: Record,
    present: NetworkChoices,
    seconds: float,
    told: Callable[[Report], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    name: str = "the network",
) -> Outcome:
    """Search within a time; raises `NetcError` where there is nothing to search, or no time for it."""
    known = record.count
    kernels = measurer.survey(NetworkChoices({}))
    if not any(decision.others for kernel in kernels.values() for decision in kernel.decisions.values()):
        raise NetcError(f"there is nothing to tune: no kernel of {name} has another schedule")
    found = Search(measurer, record, present, clock=clock, seconds=seconds, told=told)
    outcome = found.run()
    if not outcome.is_complete and record.count == known == 0:
        needed = f"one trial of {name} takes {found.longest:.0f} s or more"
        raise NetcError(f"{seconds:.0f} s are too few: {needed}", hint="give more, for example --budget 5m")
    return outcome


def forget(source: Source, **given: Any) -> bool:
    """Delete what was found for a network on this machine; False where there was nothing."""
    wanted = {"weights": None, "batch": 1, "threads": None, "net": None, "settings": None, "seed": 0, "precision": F32}
    return tuned.forget(tuned_place(network_of(source, **{**wanted, **given})))


def network_of(
    source: Source,
    weights: Weights,
    batch: int,
    threads: int | None,
    net: str | None,
    settings: Mapping[str, Any] | None,
    seed: int,
    precision: str,
) -> Compilation:
    """The network as it goes into compilation.

    Raises `NetcError` for a saved program.
    """
    if isinstance(source, str | os.PathLike) and begins_like_saved(source):
        hint = "tune its network, and compile that again"
        raise NetcError(f"{os.fspath(source)} is a saved program, whose code is made", hint=hint)
    request = Request(
        source, net, batch, settings or {}, threads=threads, weights=weights, seed=seed, precision=precision
    )
    c = build(request, "graph")
    c.graph = runnable(c.graph)
    return c


# ---- files ----------------------------------------------------------------------------------------------------------


def _notes(place: tuned.Place) -> list[str]:
    others = len(tuned.foreign(place))
    if not others:
        return []
    what = "is a result" if others == 1 else f"are {others} results"
    return [f"there {what} for this network on another processor, or by another netc, which can't be used here"]


def _record(place: tuned.Place, notes: list[str]) -> Record:
    content = _kept(place, tuned.MEASURED, notes, "all is measured anew")
    return Record(content["ratios"] if content is not None else {})


def _present(place: tuned.Place, notes: list[str]) -> NetworkChoices:
    content = _kept(place, tuned.CHOICES, notes, "it isn't used")
    return tuned.choices_of(content["kernels"] if content is not None else {})


def _kept(place: tuned.Place, what: str, notes: list[str], instead: str) -> Mapping[str, Any] | None:
    """What lies at a place; a damaged file is noted, and what happens instead."""
    try:
        return tuned.read(place, what)
    except NetcError as error:
        notes.append(f"{error.diagnostics[0].message}: {instead}")
        return None


def _content(record: Record, c: Compilation) -> dict[str, Any]:
    return {**_about(c), "ratios": record.ratios}


def _about(c: Compilation) -> dict[str, Any]:
    """For people who look into the file."""
    return {"network": c.graph.name, "cpu": c.target.cpu, "threads": c.threads, "precision": c.request.precision}
