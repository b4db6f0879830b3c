"""What `import netc` promises beyond programs themselves: arguments are checked, passes are importable."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.passes import cse, fuse

NET = """\
net two(a: f32[N, 4], b: f32[N, 4]) { return a + b, a * b }
net one(a: f32[N, 4], width = 3) { return a |> dense@fc(width) }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nets.net"
    path.write_text(NET)
    return path


def test_several_outputs_and_inputs_by_name(file: Path) -> None:
    a, b = (np.random.default_rng(i).standard_normal((2, 4), np.float32) for i in range(2))
    program = netc.compile(file, net="two", batch=2, threads=1)
    total, product = program(b=b, a=a)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(product, a * b)
    assert repr(program) == "<Program two(a: f32[2,4], b: f32[2,4]) -> f32[2,4], f32[2,4], threads=1>"


def test_numpy_integers_are_integers(file: Path) -> None:
    program = netc.compile(file, net="one", batch=np.int64(3), threads=np.int32(2), settings={"width": 5})
    assert np.asarray(program(np.zeros((3, 4), np.float32))).shape == (3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "1 to 1024 threads, not 0"),
        ({"threads": 10**6}, "1 to 1024 threads, not 1000000"),
        ({"threads": 1.5}, "1 to 1024 threads, not 1.5"),
        ({"batch": 0}, "positive whole number of samples, not 0"),
        ({"batch": "8"}, "positive whole number of samples, not '8'"),
        ({"settings": {"wdith": 3}}, "did you mean width"),
        ({"settings": {"": 3}}, "no hyperparameter"),
        ({"weights": {"fc.weight": np.zeros((3, 4), np.float32)}}, r"found f32\[3,4\], the net needs \[4,3\]"),
    ],
)
def test_unsuitable_arguments(file: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(netc.NetcError, match=message):
        netc.compile(file, net="one", **arguments)


def test_passes_are_importable_and_callable(file: Path) -> None:
    graph = netc.load(file, net="two")
    assert fuse is netc.passes.fuse
    assert cse(graph) is graph
    assert [op.name for op in fuse(graph).operations] == [op.name for op in netc.passes.run(graph, "fuse").operations]
