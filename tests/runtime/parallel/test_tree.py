"""Sums over shards have the same bits on any number of ranks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.runtime.parallel.tree import Announce, Tree, middle, row_of, subtrees

from .ranks import ThreadWorld, on_ranks, random_rows

LENGTH = 37


def by_definition(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """((0 + 1) + (2 + 3)) + ..., the first half the larger power of two."""
    if len(rows) == 1:
        return rows[0]
    half = middle((0, len(rows)))
    return by_definition(rows[:half]) + by_definition(rows[half:])


def test_the_first_half_is_the_larger_power_of_two() -> None:
    assert [middle((0, n)) for n in range(2, 10)] == [1, 2, 2, 4, 4, 4, 4, 8]
    assert list(subtrees((0, 8), range(2, 5))) == [(2, 4), (4, 5)]


@pytest.mark.parametrize("ranks", range(1, 10))
def test_rows_share_out_the_shards(ranks: int) -> None:
    rows = [row_of(rank, ranks, 16) for rank in range(ranks)]
    assert rows[0].start == 0
    assert rows[-1].stop == 16
    assert all(a.stop == b.start and len(a) > 0 for a, b in pairwise(rows))


@pytest.mark.parametrize(
    ("shards", "ranks"), [(s, r) for s in (1, 2, 3, 4, 5, 7, 8, 16) for r in range(1, s + 3) if r < 6 or r in (s, 8)]
)
def test_sums_have_the_bits_of_the_tree(shards: int, ranks: int) -> None:
    rows = random_rows(shards, LENGTH)

    def work(world: ThreadWorld) -> list[NDArray[Any]]:
        tree = Tree(world, shards, LENGTH)

        def compute(shard: int, out: NDArray[Any], announce: Announce | None) -> None:
            assert shard in tree.row
            out[:] = rows[shard]

        return [tree.total(compute).copy() for _ in range(2)]

    expected = by_definition(rows)
    if shards > 4:
        assert not np.array_equal(expected, rows.sum(axis=0)), "any order would do"
    for totals in on_ranks(ranks, work):
        for total in totals:
            np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize(("shards", "ranks"), [(4, 1), (4, 2), (8, 4), (5, 3), (4, 3)])
def test_buckets_are_added_while_the_last_shard_is_computed(shards: int, ranks: int) -> None:
    rows, buckets = random_rows(shards, LENGTH), (slice(0, 11), slice(11, 30))

    def work(world: ThreadWorld) -> tuple[list[NDArray[Any]], int]:
        tree, announcing = Tree(world, shards, LENGTH, buckets=buckets), 0

        def compute(shard: int, out: NDArray[Any], announce: Announce | None) -> None:
            nonlocal announcing
            out[:] = np.nan
            for number, part in enumerate((*buckets, slice(30, LENGTH))):
                out[part] = rows[shard][part]
                if announce is not None and number < len(buckets):
                    announce(number)
                    announcing += 1

        totals = [tree.total(compute).copy() for _ in range(2)]
        tree.close()
        return totals, announcing

    for totals, announcing in on_ranks(ranks, work):
        assert announcing == (2 * len(buckets) if ranks > 1 else 0)
        for total in totals:
            np.testing.assert_array_equal(total, by_definition(rows))


@pytest.mark.parametrize(("shards", "ranks"), [(4, 1), (4, 2), (8, 4), (8, 8), (5, 3), (6, 3), (2, 3)])
def test_rows_are_put_one_behind_the_other(shards: int, ranks: int) -> None:
    expected = np.arange(shards * 3 * 2, dtype=np.float32).reshape(shards * 3, 2)

    def work(world: ThreadWorld) -> NDArray[Any]:
        tree, found = Tree(world, shards, LENGTH), np.zeros_like(expected)
        own = slice(tree.row.start * 3, tree.row.stop * 3)
        found[own] = expected[own]
        tree.gather(found)
        return found

    for found in on_ranks(ranks, work):
        np.testing.assert_array_equal(found, expected)


def test_what_fails_in_the_background_is_raised() -> None:
    class Broken(ThreadWorld):
        def exchange(self, mine: Any, theirs: Any, partner: int) -> None:
            raise ConnectionError("the other one is gone")

    def compute(shard: int, out: NDArray[Any], announce: Announce | None) -> None:
        out[:] = 1
        if announce is not None:
            announce(0)

    tree = Tree(Broken(0, 2, {}), 2, LENGTH, buckets=(slice(0, 8),))
    with pytest.raises(ConnectionError, match="gone"):
        tree.total(compute)
