"""Text of random graphs gives them again, or what can't be said is named."""

from __future__ import annotations

from collections import Counter

from netc.frontend.writing import written
from netc.frontend.writing.literals import UnsayableError
from tests.random_networks import Seeded, draw_network
from tests.random_networks.maker import UnfitError


def test_random_graphs_become_texts_that_give_them_again() -> None:
    counts: Counter[str] = Counter()
    for seed in range(160):
        try:
            written(draw_network(Seeded(seed)).graph)
        except UnfitError:
            continue
        except UnsayableError as error:
            assert "the language" in str(error)  # noqa: PT017 (most are said)
            assert "doesn't take" not in str(error)  # noqa: PT017
            counts["refused"] += 1
        else:
            counts["said"] += 1
    assert counts["said"] > 40
