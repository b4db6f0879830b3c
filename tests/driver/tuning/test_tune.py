"""`netc tune`: its files and the command."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc as library
from netc.compiler.errors import NetcError
from netc.pipeline import PROGRAM, Request, build, tuned_place
from netc.runtime import tuned
from netc.tuning import measuring
from netc.tuning.statistics import Comparison

from ..conftest import Call
from .conftest import ROUNDS


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
    saved.write_bytes(b"nothing of the kind")
    assert "is no saved program" in netc("tune", saved).err
    saved.unlink()
    assert "is a saved program" not in netc("tune", saved).err
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
