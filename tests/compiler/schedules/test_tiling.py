"""How register tiles are chosen."""

import pytest

from netc.compiler.backends.cpu.schedules.tiling import Tiling


@pytest.mark.parametrize("channels", [1, 7, 10, 12, 15, 16, 31, 48, 64])
def test_the_sums_of_a_tile_fit_the_registers(channels: int) -> None:
    """Also where few channels take several narrow vectors."""
    tile = Tiling(height=64, width=64, channels=channels, lanes=16, registers=32).best()
    assert tile.pixels * len(tile.widths) + len(tile.widths) + 1 <= 32
