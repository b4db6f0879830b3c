"""How threads share out work: margins by rows, contractions by bands of pixels or tiles of channels."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.backends.cpu.schedules.partition import Shares, largest_share
from netc.compiler.backends.cpu.schedules.tiling import Tiling, grid_of
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.lowering.margins import clear_margins
from netc.compiler.targets.cpus import CPUS
from netc.compiler.types import parse_type


@pytest.mark.parametrize(
    "text",
    [
        "i8[1,9,7,16]{0:0,1:2,2:1,0:0}<0.5:-3>",
        "i8[2,3,5,64]{0:0,4:4,4:4,0:0}<0.5:7>",
        "i8[2,40,5,32]{0:0,0:0,1:1,0:0}",
        "f32[1,40,5,8]{0:0,3:0,0:0,0:0}",
        "f32[2,4,3,5,6]{0:0,1:1,1:1,2:1,0:0}",
        "f32[1,70,4,9]{0:0,0:1,0:1,0:0}",
        "f32[1,400,24]{0:0,20:20,0:0}",
        "f32[2,4,4,8]{1:1,1:1,1:1,0:0}",
    ],
)
def test_margins_and_nothing_else_are_cleared(text: str) -> None:
    """Whoever shares them out: all margins before the last dimension hold the zero point, what lies inside stays."""
    kind = parse_type(text)
    kernel = clear_margins(kind, CPUS["skylake-avx512"])
    expected = np.full(kind.buffer_shape, kind.zero_point, kind.dtype.numpy)
    inside = tuple(slice(before, before + size) for (before, _), size in zip(kind.margins, kind.shape, strict=True))
    expected[inside] = 99
    found = np.full(kind.buffer_shape, 99, kind.dtype.numpy)
    run_kernel(kernel, [found.reshape(view.shape) for view in kernel.params])
    np.testing.assert_array_equal(found, expected)


def test_wide_margins_are_shared_out() -> None:
    """A picture is one image, but has many rows."""
    kernel = clear_margins(parse_type("i8[1,14,14,768]{0:0,2:2,2:2,0:0}<0.5:3>"), CPUS["skylake-avx512"])
    assert kernel.is_parallel


@pytest.mark.parametrize(
    ("whole", "last", "threads", "largest"), [(4, 0, 2, 20), (4, 2, 2, 22), (5, 0, 2, 30), (1, 0, 3, 10), (0, 7, 2, 7)]
)
def test_the_busiest_thread(whole: int, last: int, threads: int, largest: int) -> None:
    """Parts are shared out in order, as a parallel loop does; the last one may be smaller."""
    assert largest_share(whole, 10, last, threads) == largest


def test_tiles_give_two_threads_halves() -> None:
    """14 rows in tiles of 3 rows would be 6 and 8: another tile is as fast for one thread, and even for two."""
    tiling = Tiling(height=14, width=14, channels=768, lanes=16, registers=32, threads=2, shared_input=1000.0)
    tile = tiling.best()
    assert grid_of(14, 14, tile, flat=False).count % 2 == 0


def _shares(weight: int, inputs: int, torn: int = 0) -> Shares:
    return Shares(
        threads=2,
        cycles=1e6,
        channels=0.5,
        bands=0.5,
        weight=weight,
        input=inputs,
        overlap=0,
        torn_lines=torn,
    )


def test_an_input_that_all_read_costs_more_than_a_weight() -> None:
    """A weight must be many times larger to be shared out, and results of a pixel must not lie in one line."""
    assert _shares(weight=70_000, inputs=20_000).by_bands < _shares(weight=70_000, inputs=20_000).by_channels
    assert _shares(weight=2_000_000, inputs=20_000).by_channels < _shares(weight=2_000_000, inputs=20_000).by_bands
    torn = _shares(weight=2_000_000, inputs=20_000, torn=10_000)
    assert torn.by_bands < torn.by_channels
