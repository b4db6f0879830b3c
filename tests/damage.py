"""Random damage to the bytes of a file, for tests and fuzzing."""

from __future__ import annotations

import random


def truncate(data: bytearray, rng: random.Random) -> None:
    """Cut off the end."""
    del data[rng.randrange(len(data)) :]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Turn over up to 16 bits."""
    for _ in range(rng.choice((1, 1, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def copy_parts(data: bytearray, rng: random.Random) -> None:
    """Overwrite a part by another one of up to 200 bytes."""
    source, target, length = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(200)
    data[target : target + length] = data[source : source + length]
