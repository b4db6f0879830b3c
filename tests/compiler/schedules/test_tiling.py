"""How register tiles are chosen."""

from dataclasses import replace

import pytest

from netc.compiler.backends.cpu.schedules.tiling import Tiling
from netc.compiler.lowering.loops import vector_widths


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


@pytest.mark.parametrize(("channels", "widths"), [(10, (8, 2)), (24, (16, 8)), (56, (16, 16, 16, 8))])
def test_tiles_of_few_channels_have_narrow_vectors_where_that_joins_them(
    channels: int, widths: tuple[int, ...]
) -> None:
    tiling = Tiling(height=56, width=56, channels=channels, lanes=16, registers=32, pixel_cost=0.1, joins_narrow=True)
    tile = tiling.best()
    assert tile.widths == widths
    assert (tile.pixels + 1) * len(widths) < 32


@pytest.mark.parametrize("channels", [26, 58, 122])
def test_sums_of_the_last_channels_fit_the_registers(channels: int) -> None:
    """58 channels were 32 and 16 + 8 + 2: three vectors by 14 rows of pixels are more than 32 registers."""
    tile = Tiling(height=28, width=28, channels=channels, lanes=16, registers=32).best()
    for widths in (tile.widths, vector_widths(channels % tile.channels, 16)):
        assert tile.pixels * len(widths) + len(widths) + 1 <= 32
