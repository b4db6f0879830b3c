"""Ranks as threads of one process, for tests of what they say to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T")
_SECONDS = 30


class ThreadWorld:
    """The world of one thread among others."""

    cores = 1
    threaded = True
    over = False

    def __init__(self, rank: int, size: int, boxes: dict[tuple[int, int], Queue[Any]]) -> None:
        self.rank, self.size, self._boxes = rank, size, boxes

    def send_message(self, message: Any, to: int) -> None:
        self._boxes[self.rank, to].put(message)

    def receive_message(self, source: int) -> Any:
        return self._boxes[source, self.rank].get(timeout=_SECONDS)

    def broadcast(self, message: Any) -> Any:
        if self.rank:
            return self.receive_message(0)
        for rank in range(1, self.size):
            self.send_message(message, rank)
        return message

    def gather(self, message: Any) -> list[Any]:
        if self.rank:
            self.send_message(message, 0)
            return []
        return [message, *(self.receive_message(rank) for rank in range(1, self.size))]

    def broadcast_array(self, array: Array, root: int = 0) -> None:
        if self.rank == root:
            for rank in set(range(self.size)) - {root}:
                self.send_message(array.copy(), rank)
        else:
            array[...] = self.receive_message(root)

    def send(self, array: Array, to: int) -> None:
        self.send_message(array.copy(), to)

    def receive(self, array: Array, source: int) -> None:
        array[...] = self.receive_message(source)

    def exchange(self, mine: Array, theirs: Array, partner: int) -> None:
        self.send(mine, partner)
        self.receive(theirs, partner)

    def abort(self, status: int) -> None:
        raise AssertionError(f"aborted with {status}")


def on_ranks(size: int, work: Callable[[ThreadWorld], T]) -> list[T]:
    """What `work` returns on each of `size` ranks; the first exception of one is raised."""
    boxes: dict[tuple[int, int], Queue[Any]] = {(a, b): Queue() for a in range(size) for b in range(size)}
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadWorld(rank, size, boxes))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_SECONDS)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "ranks wait for each other"
    return results


def random_rows(shards: int, length: int) -> NDArray[np.float32]:
    """Numbers of very different sizes, whose sum depends on its order."""
    rng = np.random.default_rng(shards)
    scales = 10.0 ** rng.integers(-4, 5, (shards, length))
    return (rng.standard_normal((shards, length)) * scales).astype(np.float32)
