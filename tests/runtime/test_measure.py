"""Measuring: statistics of runs, and the peak kernel."""

import pytest

from netc.compiler.backends.cpu.codegen.host import host_target
from netc.runtime import measure
from netc.runtime.measure import Timing, benchmark, peak_flops


def test_statistics() -> None:
    timing = Timing(tuple(float(n) for n in range(1, 101)))
    assert (timing.minimum, timing.median, timing.p95) == (1, 50, 95)
    single = Timing((2.0,))
    assert (single.minimum, single.median, single.p95) == (2, 2, 2)


def test_benchmark_counts_runs_after_the_warm_up() -> None:
    calls: list[None] = []
    timing = benchmark(lambda: calls.append(None), seconds=0, warmup=0, at_least=7)
    assert len(timing.seconds) == 7
    assert len(calls) == 8
    assert list(timing.seconds) == sorted(timing.seconds)


@pytest.mark.parametrize("threads", [1, 2])
def test_peak_rate_is_positive_and_finite(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(measure, "_STEPS", 1000)
    assert 1e6 < peak_flops(host_target(), threads, seconds=0) < 1e14
