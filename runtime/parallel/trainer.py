"""A training step that is computed shard by shard, on one process or on several, to the same bits."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Graph
from ...compiler.modules.module import Module, final_outputs
from ...compiler.training.step import SHARD
from ...compiler.types import TensorType
from ..data.layout import as_input
from ..program import Program, Writer, all_outputs
from ..session import address_of
from ..trainer import Trainer
from .tree import Tree, layout
from .world import ALONE, World

Array = NDArray[Any]

_Run = Callable[[Writer, int], None]
"""Runs a shard, by its number, into the arrays of a writer."""

CHECKED_STEPS = 100
"""After so many steps ranks compare a hash of their state."""


class ShardedTrainer(Trainer):
    """Trains a network on batches that are made of shards (see `compiler.training.sharded`).

    `net` takes a whole batch, `shard` is the program of one shard, `update` what is done with the sum over all of them,
    `prepare`, if there is such, what makes a shard's last inputs of the parameters.
    In a `world` of several ranks each is given the rows of its own shards, and all of them take each step together.
    """

    def __init__(
        self,
        net: Graph,
        step_graph: Graph,
        update: Program,
        shard: Program,
        params: Mapping[str, Array],
        seed: int = 0,
        *,
        shards: int,
        prepare: Program | None = None,
        world: World = ALONE,
    ) -> None:
        super().__init__(net, step_graph, update, params, seed)
        self._shard = shard
        self._prepare = prepare
        made = {} if prepare is None else prepare.outputs
        self._prepared: list[Array] = [np.zeros(type_.shape, type_.dtype.numpy) for type_ in made.values()]
        self._make_ready = None if prepare is None else prepare.writer(self._prepared)
        self.batch = shards * self.labels.shape[0]
        self._labels = self.labels.dtype.numpy
        self._shards = shards
        self.world = world
        self._steps = 0
        self.total_step = 0
        """Steps of the run that are done, for messages; who goes on with a run sets it."""
        self.amid = False
        """Whether other ranks work, or wait, for what this rank has begun together with them."""
        self.note: Callable[[int | None, str], None] = lambda step, phase: None
        """Told where this rank is: the number of the step, and `compute`, `exchange` or nothing."""
        self._numbered = SHARD in shard.inputs
        self._numbers = np.arange(shards, dtype=np.int64)
        types = [type_ for _, type_ in shard.module.outputs]
        dtypes = {t.dtype.numpy for t in types}
        if len(dtypes) != 1:
            raise NetcError(f"net {net.name} mixes element types: it can't be trained in shards", hint="use --shards 1")
        self._shapes = [t.shape for t in types]
        self._dtype = dtypes.pop()
        whole = [type_.shape for _, type_ in update.module.inputs]
        self._rows = {n: np.zeros(shape, self._dtype) for n, shape in enumerate(whole) if shape != self._shapes[n]}
        """Results whose rows are not added, but put one behind the other, for all shards."""
        assert isinstance(shard.module, Module), "a shard is compiled here"
        self._calls = shard.module.calls
        self._final = final_outputs(self._calls, len(types))
        self._cut: dict[tuple[int, int], Writer] = {}
        """What writes a shard's results into each array of the tree, which uses the same few again and again."""
        self._arrange(self._final)

    def _arrange(self, groups: Sequence[Sequence[int]]) -> None:
        """Let results lie in the order of these groups, each of which is a bucket but the last."""
        added = [[result for result in group if result not in self._rows] for group in groups]
        self._places, self._buckets = _layout(added, self._shapes)
        self._tree = Tree(self.world, self._shards, self._buckets[-1].stop, self._dtype, self._buckets[:-1])
        final, self._whole = set[int](), list[int]()
        """After each announcement, how many buckets are final."""
        for announced in self._final[:-1]:
            final |= set(announced)
            self._whole.append(
                next((n for n, group in enumerate(groups[:-1]) if not final.issuperset(group)), len(groups) - 1)
            )

    @property
    def rows(self) -> slice:
        """The rows of a batch that this rank is given."""
        size = self.batch // self._shards
        return slice(self._tree.row.start * size, self._tree.row.stop * size)

    @property
    def labels(self) -> TensorType:
        """What a shard takes as labels."""
        return self._shard.inputs["labels"]

    @property
    def bucket(self) -> tuple[int, int]:
        """The bucket of gradients that is added over ranks, from 1 on, and how many there are."""
        return self._tree.bucket

    def announced(self, *batch: Array) -> tuple[tuple[float, float], ...]:
        """For each bucket, which share of the gradients is final with it, and after which share of a shard's time.

        Runs the first shard of a batch.
        """
        *x, labels = (array[: self.batch // self._shards] for array in batch)
        number = (self._numbers[:1].reshape(()),) * self._numbered
        passed = np.cumsum(self._shard.profile(*x, *number, labels, *self._prepared))
        times = [*(passed[n] / passed[-1] for n, call in enumerate(self._calls) if call.announces), 1.0]
        length = self._buckets[-1].stop
        return tuple((part.stop / length, float(time)) for part, time in zip(self._buckets, times, strict=True))

    @property
    def exchanged_bytes(self) -> int:
        """Bytes that are added over ranks in a step, or put together."""
        return self._tree.bytes + sum(array.nbytes for array in self._rows.values())

    @property
    def peak_bytes(self) -> int:
        """Bytes that a step works on, on this rank."""
        module = self._shard.module
        inputs = sum(type_.bytes for _, type_ in module.inputs)
        return super().peak_bytes + module.arena_bytes + module.weights_bytes + inputs

    @contextmanager
    def _announcing(self, announce: Callable[[int], None] | None) -> Iterator[None]:
        """Meanwhile tell of each bucket when all of its gradients are final, if somebody listens."""
        if announce is None:
            yield
            return
        begun = 0

        def heard(announcement: int) -> None:
            nonlocal begun
            for bucket in range(begun, self._whole[announcement]):
                announce(bucket)
            begun = max(begun, self._whole[announcement])

        self._shard.listen(heard)
        try:
            yield
        finally:
            self._shard.listen(None)

    def step(self, *batch: Array) -> float:
        """Train on a batch, of which `rows` are given here; metrics are those of the whole. See `Trainer.step`.

        A rank that has no shard needs none.
        """
        if self._steps == 0 and self.world.size > 1 and (first := self.world.broadcast(self._final)) != self._final:
            self._arrange(first)  # the program of other processors, or of more threads, has another order
        run = self._runs(batch) if self._tree.row else None
        if run is not None and self._make_ready is not None:
            self._make_ready()

        def compute(number: int, out: Array, announce: Callable[[int], None] | None) -> None:
            assert run is not None, "who has a shard is given it"
            write = self._writer(out, number)
            with self._announcing(announce):
                run(write, number)

        step, self.amid = self.total_step + 1, True
        self.note(step, "compute")
        total = self._tree.total(compute, lambda: self.note(step, "exchange"))
        for rows in self._rows.values():
            self._tree.gather(rows)
        self.note(step, "")
        self.amid = False
        results = self.program(*self._views(total))
        self.metrics = {name: float(value) for name, value in zip(self._names, all_outputs(results), strict=True)}
        self.metrics.setdefault("counted", float(self.labels.size * self._shards))
        self._steps += 1
        self.total_step = step
        if self._steps % CHECKED_STEPS == 0:
            self.check_alike()
        return self.metrics["loss"]

    def _runs(self, batch: Sequence[Array]) -> _Run:
        """What runs a shard on its rows of a batch."""
        *x, labels = batch
        labels = self._checked(labels)
        given = [*(as_input(a, t) for a, t in zip(x, self._shard.inputs.values(), strict=False)), labels]
        return self._quick(given) or self._checking(given)

    def _quick(self, given: Sequence[Array]) -> _Run | None:
        """What runs a shard on its rows, by their addresses alone; None unless arrays are as the program takes them."""
        taken = [t for name, t in self._shard.module.inputs if name != SHARD][: len(given)]
        count = len(self._tree.row)
        for array, type_ in zip(given, taken, strict=True):
            rows = (type_.shape[0] * count, *type_.shape[1:])
            if array.shape != rows or array.dtype != type_.dtype.numpy or not array.flags.c_contiguous:
                return None
        starts = [address_of(array) - self._tree.row.start * t.bytes for array, t in zip(given, taken, strict=True)]
        steps = [t.bytes for t in taken]
        if self._numbered:
            starts.insert(-1, address_of(self._numbers))
            steps.insert(-1, self._numbers.itemsize)
        starts += map(address_of, self._prepared)
        steps += [0] * len(self._prepared)

        def run(write: Writer, number: int) -> None:
            write.at([start + number * step for start, step in zip(starts, steps, strict=True)])

        return run

    def _checking(self, given: Sequence[Array]) -> _Run:
        """What runs a shard on its rows of any arrays; the program checks these."""
        size, first = self.batch // self._shards, self._tree.row.start

        def run(write: Writer, number: int) -> None:
            rows = slice((number - first) * size, (number - first + 1) * size)
            *inputs, labels = (array[rows] for array in given)
            write(*inputs, *([np.array(number, np.int64)] if self._numbered else []), labels, *self._prepared)

        return run

    def diagnose(self, x: Array, labels: Array) -> str | None:
        """See `Trainer.diagnose`; the samples are looked at as many at a time as the net takes."""
        size = self.net.inputs[0].type.shape[0]
        parts = [(x[i : i + size], labels[i : i + size]) for i in range(0, len(x), size)]
        whole = ([np.resize(a, (size, *a.shape[1:])) for a in part] for part in parts)
        return next((found for part in whole if (found := super(ShardedTrainer, self).diagnose(*part))), None)

    def share_state(self) -> None:
        """Take over the state of rank 0; all ranks do so at the same time."""
        for view in self.program.state.values():
            self.world.broadcast_array(view)

    @property
    def digest(self) -> str:
        """A hash of the state."""
        found = 0
        for view in self.program.state.values():
            found = zlib.crc32(view.reshape(-1).view(np.uint8).data, found)
        return f"{found:08x}"

    def check_alike(self) -> None:
        """Raise `NetcError` on rank 0 if the state of another rank differs from its own; all call this together."""
        if self.world.size == 1:
            return
        digests = self.world.gather(self.digest)
        if different := [rank for rank, other in enumerate(digests) if other != digests[0]]:
            named = f"rank {different[0]}" + (f" and {len(different) - 1} others" if len(different) > 1 else "")
            where = f"after {self._steps} steps of this process"
            hint = "do all ranks have the same processor and the same versions? `--cpu` names one that all have"
            raise NetcError(f"the weights of {named} differ from those of rank 0 {where}", hint=hint)

    def _views(self, flat: Array) -> list[Array]:
        """The results of all shards: views of an array of the tree, and the arrays of rows."""
        return [
            self._rows[n] if place is None else flat[place].reshape(shape)
            for n, (place, shape) in enumerate(zip(self._places, self._shapes, strict=True))
        ]

    def _writer(self, flat: Array, number: int) -> Writer:
        """What computes a shard into an array of the tree, and into its rows."""
        key = id(flat), number if self._rows else 0
        if key not in self._cut:  # the views keep the array, so that no other has its id
            views = self._views(flat)
            for n, rows in self._rows.items():
                size = self._shapes[n][0]
                views[n] = rows[number * size : (number + 1) * size]
            self._cut[key] = self._shard.writer(views)
        return self._cut[key]

    def close(self) -> None:
        """End the worker threads; no step can follow."""
        self._tree.close()
        self._shard.close()
        if self._prepare is not None:
            self._prepare.close()
        super().close()


def _layout(
    groups: Sequence[Sequence[int]], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[slice | None], list[slice]]:
    """Where results lie in one flat array, in the order in which they become final; and the part of each group.

    Those that are in no group have no place there.
    """
    order = [result for group in groups for result in group]
    in_order, length = layout([shapes[result] for result in order])
    places = dict(zip(order, in_order, strict=True))
    ends, count = [0], 0
    for group in groups:
        count += len(group)
        ends.append(in_order[count].start if count < len(order) else length)
    return [places.get(result) for result in range(len(shapes))], [slice(*pair) for pair in pairwise(ends)]
