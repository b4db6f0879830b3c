"""How register tiles are chosen."""

from dataclasses import replace

import pytest

from netc.compiler.backends.cpu.schedules.tiling import Tiling


@pytest.mark.parametrize("channels", [1, 7, 10, 12, 15, 16, 31, 48, 64])
def test_the_sums_of_a_tile_fit_the_registers(channels: int) -> None:
    """Also where few channels take several narrow vectors."""
    tile = Tiling(height=64, width=64, channels=channels, lanes=16, registers=32).best()
    assert tile.pixels * len(tile.widths) + len(tile.widths) + 1 <= 32


def test_tiles_are_wide_where_weights_are_waited_for() -> None:
    """Weights of few pixels come from memory: vectors of many pixels each hide that, if they stay in the cache."""
    deep = Tiling(height=14, width=14, channels=512, lanes=16, registers=32, units=2, pixel_cost=0.1)
    waiting = replace(deep, most_kept_vectors=4.0)
    assert waiting.best().pixels > deep.best().pixels
    assert replace(waiting, height=56, width=56).best() == replace(deep, height=56, width=56).best()
