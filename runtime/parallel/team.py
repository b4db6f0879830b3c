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

from ...compiler.errors import EXIT_CODE, NetcError
from ..trainer import Trainer
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
    CHECK = enum.auto()
    """Compare the state with that of rank 0."""
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


class Ending:
    """With which exit code all ranks end."""

    code = 0


@contextmanager
def leading(
    trainer: Trainer, stream: BatchStream, evaluate: Evaluate, world: World
) -> Iterator[tuple[BatchStream, Evaluate, Ending]]:
    """Batches and evaluation of rank 0, in which the others take part; at the end of the context they end, too.

    So they do after an error that comes while they wait for an order: rank 0 says what it was.
    """
    ending = Ending()
    if world.size == 1:
        yield stream, evaluate, ending
        return
    assert isinstance(trainer, ShardedTrainer), "several ranks train in shards"

    def begin(epoch: int, step: int, epochs: int) -> None:
        trainer.total_step = epoch * stream.steps_per_epoch + step
        world.broadcast((Order.BEGIN, epoch, step, epochs))

    def evaluate_together() -> Scores:
        world.broadcast((Order.CHECK,))
        trainer.check_alike()
        world.broadcast((Order.EVALUATE,))
        trainer.amid = True
        skipped = [reason for reasons in world.gather(()) for reason in reasons]
        scores = evaluate()
        trainer.amid = False
        return replace(scores, skipped=(*skipped, *scores.skipped))

    def end(code: int) -> None:
        world.broadcast((Order.END, code))
        world.over = True

    try:
        yield replace(stream, begins=begin), evaluate_together, ending
    except (NetcError, OSError):
        if not trainer.amid:
            end(EXIT_CODE)
        raise
    end(ending.code)


def follow(trainer: ShardedTrainer, stream: BatchStream, assist: Callable[[], None], world: World) -> int:
    """Do what rank 0 says until it says that it is over, with an exit code; `assist` takes part in an evaluation."""
    batches: Iterator[Batch] = iter(())
    skipped: list[str] = []
    while True:
        order, *position = _heard(world)
        if order is Order.STATE:
            trainer.share_state()
        elif order is Order.BEGIN:
            batches = stream.batches(*position)
            trainer.total_step = position[0] * stream.steps_per_epoch + position[1]
        elif order is Order.STEP:
            if trainer.rows.start == trainer.rows.stop:
                trainer.step()
                continue
            batch = next(batches)
            skipped += batch.skipped
            trainer.step(batch.images, batch.labels)
        elif order is Order.CHECK:
            trainer.check_alike()
        elif order is Order.EVALUATE:
            world.gather(tuple(skipped))
            skipped.clear()
            assist()
        else:
            world.over = True
            code: int = position[0]
            return code


def _heard(world: World) -> tuple[Any, ...]:
    order: tuple[Any, ...] = world.broadcast(None)
    return order
