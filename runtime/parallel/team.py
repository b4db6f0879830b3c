"""Rank 0 runs the training loop; the others follow its orders, each on its own part of the data.

Followers decide nothing: when to begin, to step, to evaluate and to end comes from rank 0, so that no two ranks can be
of different minds about a signal or a clock.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..training.batches import Batch, BatchStream
from ..training.loop import Evaluate, Scores
from .trainer import Array, ShardedTrainer
from .world import World


class Order(enum.Enum):
    """What rank 0 tells the others to do."""

    STATE = enum.auto()
    """Take the state of rank 0."""
    BEGIN = enum.auto()
    """Batches are those from here on."""
    STEP = enum.auto()
    EVALUATE = enum.auto()
    END = enum.auto()


class LeadingTrainer(ShardedTrainer):
    """The trainer of rank 0, which takes the others along."""

    def step(self, *batch: Array) -> float:
        """A step of all ranks."""
        self.world.broadcast((Order.STEP,))
        return super().step(*batch)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Give a state to all ranks."""
        super().load_state(state)
        self.world.broadcast((Order.STATE,))
        self.share_state()


@contextmanager
def leading(stream: BatchStream, evaluate: Evaluate, world: World) -> Iterator[tuple[BatchStream, Evaluate]]:
    """Batches and evaluation of rank 0, in which the others take part; at the end of the context they end, too."""
    if world.size == 1:
        yield stream, evaluate
        return

    def begin(*position: int) -> None:
        world.broadcast((Order.BEGIN, *position))

    def evaluate_together() -> Scores:
        world.broadcast((Order.EVALUATE,))
        skipped = [reason for reasons in world.gather(()) for reason in reasons]
        scores = evaluate()
        return replace(scores, skipped=(*skipped, *scores.skipped))

    yield replace(stream, begins=begin), evaluate_together
    world.broadcast((Order.END,))


def follow(trainer: ShardedTrainer, stream: BatchStream, assist: Callable[[], None], world: World) -> None:
    """Do what rank 0 says until it says that it is over; `assist` takes part in an evaluation."""
    batches: Iterator[Batch] = iter(())
    skipped: list[str] = []
    while True:
        order, *position = _heard(world)
        if order is Order.STATE:
            trainer.share_state()
        elif order is Order.BEGIN:
            batches = stream.batches(*position)
        elif order is Order.STEP:
            batch = next(batches)
            skipped += batch.skipped
            trainer.step(batch.images, batch.labels)
        elif order is Order.EVALUATE:
            world.gather(tuple(skipped))
            skipped.clear()
            assist()
        else:
            return


def _heard(world: World) -> tuple[Any, ...]:
    order: tuple[Any, ...] = world.broadcast(None)
    return order
