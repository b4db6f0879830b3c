"""What signals do to training."""

from __future__ import annotations

import signal

import pytest

from netc.runtime.parallel.watch import Watch
from netc.runtime.parallel.world import ALONE
from netc.stopping import noting_sigterm, stopping_after_a_step


def test_sigterm_while_a_job_is_prepared_waits_until_it_can_end_with_its_code() -> None:
    before = signal.getsignal(signal.SIGTERM)
    watch = Watch(ALONE)
    with noting_sigterm(watch, ALONE) as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_rank_0_hears_that_another_rank_was_told_to_end() -> None:
    watch = Watch(ALONE)
    with noting_sigterm(watch, ALONE) as asked:
        watch.asked_to_stop(signal.SIGTERM)
    assert asked == [signal.SIGTERM]


def test_the_first_signal_asks_for_a_stop_after_the_step_and_the_second_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    asked, told = list[int](), list[str]()
    with stopping_after_a_step(asked, Watch(ALONE), ALONE, told.append):
        signal.raise_signal(signal.SIGINT)
        assert (asked, len(told)) == ([signal.SIGINT], 1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
