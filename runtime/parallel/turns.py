"""Work in pieces, of which ranks take turns: piece n is that of rank n % size; rank 0 gets all of them in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from .world import World

T = TypeVar("T")


def in_turn(own: Iterator[T], count: int, world: World) -> Iterator[T]:
    """On rank 0, what all ranks make of `count` pieces; `own` makes those of this rank. The others call `hand_in`."""
    for number in range(count):
        turn = number % world.size
        yield next(own) if turn == world.rank else world.receive_message(turn)


def hand_in(own: Iterable[object], world: World) -> None:
    """On another rank, send what it makes to rank 0, piece by piece."""
    for made in own:
        world.send_message(made, 0)
