"""Decoding and augmentation in worker processes, ahead of the training step.

Each batch is split among the workers, which write their rows straight into shared memory; a few batches are under way
while one is trained on. Tasks and answers go through a pipe per worker, in order, so nothing is shared that a killed
worker could leave locked, and workers end when the pipe does, however their parent ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import numpy as np

from ...compiler.errors import InternalError, NetcError
from ..data.source import FileSource
from .batches import Batch, Decoder, Failure, Key, Plan, Rows, finished, keys_of
from .random import Integers
from .samples import Preparation

_STOP_SECONDS = 5.0
"""How long a worker may take to finish what it is doing when it is told to stop."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Rows `start` ... of the batch in a slot of the shared memory."""

    slot: int
    start: int
    keys: tuple[Key, ...]
    epoch: int
    samples: Integers


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class WorkerMaker:
    """Batches of pictures in files, decoded in `workers` processes, `ahead` batches in advance.

    `batch` is the largest batch that will be asked for. The processes start with the first batch.
    """

    def __init__(self, source: FileSource, preparation: Preparation, batch: int, workers: int, ahead: int = 3) -> None:
        self._source = source
        self._decoder = Decoder.of(source, preparation)
        self._depth, self._batch = ahead + 1, batch
        self._count = workers
        self._workers: list[_Worker] = []
        self._slots: list[Rows] = []

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches in the order of the plans. Raises `NetcError` if a worker dies."""
        if not self._workers:
            self._start()
        remaining = iter(plans)
        free = deque(range(self._depth))
        pending: deque[tuple[Plan, int]] = deque()
        try:
            while True:
                while free and (plan := next(remaining, None)) is not None:
                    pending.append((plan, free.popleft()))
                    self._send(*pending[-1])
                if not pending:
                    return
                plan, slot = pending.popleft()
                failures = self._receive()
                rows = self._slots[slot].part(0, len(plan.samples))
                yield finished(self._source, self._decoder, plan, rows, failures)
                free.append(slot)
        finally:
            with contextlib.suppress(NetcError, InternalError):
                for _ in pending:
                    self._receive()

    def close(self) -> None:
        """Stop the workers."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.process.join(_STOP_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def processes(self) -> tuple[int, ...]:
        """The workers' process numbers; empty before the first batch and after `close`."""
        return tuple(w.process.pid for w in self._workers if w.process.pid is not None)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        shapes = (self._decoder.preparation.shape, self._decoder.mask_shape)
        images, masks = ((self._depth, self._batch, *shape) for shape in shapes)
        memory = _Memory(
            context.RawArray(ctypes.c_float, math.prod(images)),
            context.RawArray(ctypes.c_int32, max(1, math.prod(masks))),
            images,
            masks,
        )
        self._slots = memory.slots()
        with _interrupts_ignored():
            for number in range(self._count):
                ours, theirs = context.Pipe()
                arguments = (theirs, memory, self._decoder)
                process = context.Process(target=_work, args=arguments, name=f"netc-data-{number}", daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))

    def _send(self, plan: Plan, slot: int) -> None:
        bounds = np.linspace(0, len(plan.samples), self._count + 1).astype(int).tolist()
        for worker, start, end in zip(self._workers, bounds, bounds[1:], strict=False):
            samples = plan.samples[start:end]
            keys = tuple(keys_of(self._source, samples))
            try:
                worker.connection.send(_Task(slot, start, keys, plan.epoch, samples))
            except OSError:
                raise self._died(worker) from None

    def _receive(self) -> list[Failure]:
        """What the workers answer about the oldest batch under way."""
        failures: list[Failure] = []
        for worker in self._workers:
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                raise self._died(worker) from None
            if isinstance(answer, str):
                raise InternalError(f"data worker failed:\n{answer}")
            failures += answer
        return failures

    def _died(self, worker: _Worker) -> NetcError:
        worker.process.join(_STOP_SECONDS)
        code = worker.process.exitcode
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        hint = "if the machine ran out of memory, give fewer --workers or a smaller --batch; --workers 0 uses none"
        return NetcError(f"data worker {worker.process.pid} died ({how})", hint=hint)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C from their first moment on: it is their parent's to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What all processes share: room for several batches of pictures and of masks."""

    images: ctypes.Array[ctypes.c_float]
    masks: ctypes.Array[ctypes.c_int32]
    images_shape: tuple[int, ...]
    masks_shape: tuple[int, ...]

    def slots(self) -> list[Rows]:
        """Room for one batch each."""
        images = np.ctypeslib.as_array(self.images).reshape(self.images_shape)
        masks = np.ctypeslib.as_array(self.masks)[: math.prod(self.masks_shape)].reshape(self.masks_shape)
        return [Rows(*each) for each in zip(images, masks, strict=True)]


def _work(connection: Connection, memory: _Memory, decoder: Decoder) -> None:
    """The worker process: decode tasks until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # what is sent to the parent's whole group, as `timeout` does, is the parent's to handle
    slots = memory.slots()
    with contextlib.suppress(EOFError, OSError):
        while True:
            task: _Task = connection.recv()
            rows = slots[task.slot].part(task.start, task.start + len(task.keys))
            connection.send(_answer(decoder, task, rows))


def _answer(decoder: Decoder, task: _Task, rows: Rows) -> list[Failure] | str:
    """The rows of the batch that failed; the text of an unexpected error."""
    try:
        failures = decoder(task.keys, task.epoch, task.samples, rows)
    except Exception:
        return traceback.format_exc()
    return [(task.start + row, message) for row, message in failures]
