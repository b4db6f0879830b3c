"""The random generator: published answers, spread, independence of seeds, streams and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.ops.random import philox, stream_key
from netc.compiler.types import DType, TensorType

SHAPE = (64, 1024)


def uniform(step: int, **attributes: Any) -> np.ndarray[Any, np.dtype[Any]]:
    b = GraphBuilder("g")
    counter = b.input("counter", TensorType(DType.I64, ()))
    graph = b.finish([b.emit("random_uniform", counter, **{"shape": SHAPE, **attributes})])
    return np.asarray(evaluate(graph, [np.array(step)])[0])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), 0, (0xFF1DAE59, 0x6CD10DF2)),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
    ],
)
def test_known_answers(counter: tuple[int, int], key: int, expected: tuple[int, int]) -> None:
    """The test vectors that the authors of Philox publish for philox2x32-10."""
    assert philox(counter, key) == expected
    words = tuple(np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((words[0], words[1]), key)) == expected


def test_spread() -> None:
    u = uniform(5)
    assert 0 <= u.min() < u.max() < 1
    counts, _ = np.histogram(u, 64, (0, 1))
    chi_squared = float(((counts - u.size / 64) ** 2 / (u.size / 64)).sum())
    assert 30 < chi_squared < 110  # of 63 degrees of freedom: all but one in a thousand on each side


def test_everything_changes_the_numbers() -> None:
    variants = [uniform(5), uniform(6), uniform(5, seed=1), uniform(5, stream=1), uniform(5, seed=-1)]
    for i, a in enumerate(variants):
        for b in variants[:i]:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


def test_element_types_agree() -> None:
    np.testing.assert_array_equal(uniform(5), uniform(5, dtype="f64"))


def test_keys_of_neighbours_differ() -> None:
    keys = {stream_key(seed, stream) for seed in range(-50, 50) for stream in range(100)}
    assert len(keys) > 9_990
    assert all(0 <= key < 2**32 for key in keys)


@pytest.mark.parametrize("bad", [{"dtype": "i32"}, {"shape": (2**17, 2**17)}])
def test_mistakes(bad: dict[str, Any]) -> None:
    with pytest.raises(NetcError, match="random_uniform can't fill"):
        uniform(0, **bad)
