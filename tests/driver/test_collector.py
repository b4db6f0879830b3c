"""The garbage collector rests, and is what it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from netc.collector import without_collections


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("lasting", [True, False])
def test_it_rests_and_is_as_before(enabled: bool, lasting: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with without_collections(lasting=lasting):
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_what_lasts_is_old_afterwards_and_can_still_be_collected() -> None:
    with without_collections(lasting=True):
        made: list[object] = []
        made.append(made)
    assert any(each is made for each in gc.get_objects(2))
    assert gc.get_freeze_count() == 0


def test_what_the_caller_froze_stays_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with without_collections(lasting=True):
        pass
    assert 0 < gc.get_freeze_count() <= frozen
