"""Sums over shards in the order of one binary tree, whoever holds which shard.

The tree over n leaves splits them in halves, the first of which has the larger power of two: ((0 + 1) + (2 + 3)) + ...
Each rank holds a row of consecutive shards. It adds up the subtrees that lie in its row; what remains of the tree goes
over ranks. With powers of two that is a reduce-scatter by recursive halving and an all-gather by recursive doubling
(Rabenseifner, Optimization of collective reduction operations, 2004), whose partners are chosen so that they add in the
tree's order; otherwise sums go to the rank of a node's first leaf, and from rank 0 to all. Parts of the arrays that are
final before the rest are added before it, on a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .background import Background
from .world import World

Array = NDArray[Any]
Announce = Callable[[int], None]
Compute = Callable[[int, Array, Announce | None], None]
Node = tuple[int, int]
"""The leaves of a subtree: first, and one after the last."""


def row_of(rank: int, ranks: int, shards: int) -> range:
    """The shards of a rank; where there are more ranks than shards, the last ones have none."""
    ranks = min(ranks, shards)
    if rank >= ranks:
        return range(shards, shards)
    return range(rank * shards // ranks, (rank + 1) * shards // ranks)


def middle(node: Node) -> int:
    """Where the second half of a node begins."""
    first, end = node
    return first + (1 << ((end - first - 1).bit_length() - 1))


def subtrees(node: Node, row: range) -> Iterator[Node]:
    """The largest subtrees of a node whose leaves all lie in `row`, in order."""
    first, end = node
    if first >= row.stop or end <= row.start:
        return
    if row.start <= first and end <= row.stop:
        yield node
        return
    half = middle(node)
    yield from subtrees((first, half), row)
    yield from subtrees((half, end), row)


class Tree:
    """Adds arrays of `length` elements over the shards of all ranks."""

    def __init__(
        self, world: World, shards: int, length: int, dtype: Any = np.float32, buckets: Sequence[slice] = ()
    ) -> None:
        """`shards` of a batch; `length` elements are added for each of them.

        `buckets` are parts of the array, one behind the other, that a shard may announce while it is computed; what
        lies behind them is final at its end.
        """
        self._world = world
        self._shards = shards
        self._row = row_of(world.rank, world.size, shards)
        self._spare: list[Array] = []
        self._length, self._dtype = length, dtype
        self._halving = not world.size & (world.size - 1) and shards % world.size == 0
        self._halving &= not (shards // world.size) & (shards // world.size - 1)
        self._parts = (*buckets, slice(buckets[-1].stop if buckets else 0, length))
        self._background = Background()
        self._added = 0

    @property
    def bytes(self) -> int:
        """Of the array of a shard."""
        return self._length * int(np.dtype(self._dtype).itemsize)

    @property
    def row(self) -> range:
        """The shards of this rank."""
        return self._row

    @property
    def bucket(self) -> tuple[int, int]:
        """The part of the array that is added over ranks, or is the next to be, from 1 on; and how many there are."""
        return min(self._added + 1, len(self._parts)), len(self._parts)

    def total(self, compute: Compute, exchanges: Callable[[], None] = lambda: None) -> Array:
        """The sum over all shards, equal on all ranks; `compute(shard, out, announce)` writes what a shard gives.

        `announce`, unless it is None, may be called with the numbers of buckets, from 0 on in their order, as soon as
        they are final: they are added over ranks meanwhile, in a thread. The result is valid until the next call.
        `exchanges` is called when this rank has done its part.
        """
        if not self._row:
            return self._total_of_others(exchanges)
        *whole, node = subtrees((0, self._shards), self._row)
        sums = {each: self._local(each, compute) for each in whole}
        lefts, leaf = self._begun(node, compute)
        last = self._buffer()
        own = [*lefts, last]
        spare = self._buffer() if self._world.size > 1 else last
        self._added = 0

        def add(number: int) -> None:
            part = self._parts[number]
            for left, right in reversed(list(pairwise(own))):
                np.add(left[part], right[part], out=left[part])
            if self._world.size > 1:
                parts = {**{n: a[part] for n, a in sums.items()}, node: own[0][part]}
                self._over_ranks(parts, spare[part], list(parts.values())[0 if self._world.rank == 0 else -1])
            self._added = number + 1

        announced = 0

        def announce(number: int) -> None:
            nonlocal announced
            self._background.begin(partial(add, number))
            announced = number + 1

        compute(leaf, last, announce if self._world.size > 1 and len(self._parts) > 1 else None)
        exchanges()
        self._background.wait()
        for number in range(announced, len(self._parts)):
            add(number)
        arrays = [*sums.values(), *own]
        total = arrays.pop(0) if self._world.rank == 0 else arrays.pop(len(sums))
        self._spare += [*arrays, *([spare] if spare is not last else []), total]
        return total

    def gather(self, array: Array) -> None:
        """Give all ranks all rows of an array, as many for each shard, of which each has written those of its own."""
        size, world = len(array) // self._shards, self._world
        if not self._halving:
            for rank in range(min(world.size, self._shards) if world.size > 1 else 0):
                row = row_of(rank, world.size, self._shards)
                world.broadcast_array(array[row.start * size : row.stop * size], rank)
            return
        rows, distance = len(array) // world.size, 1
        while distance < world.size:
            mine = world.rank & -distance
            theirs = mine ^ distance
            here, there = (array[first * rows : (first + distance) * rows] for first in (mine, theirs))
            world.exchange(here, there, world.rank ^ distance)
            distance *= 2

    def close(self) -> None:
        """End the thread."""
        self._background.close()

    # ---- on one rank ------------------------------------------------------------------------------------------------

    def _local(self, node: Node, compute: Compute) -> Array:
        """The sum of a subtree that is this rank's own."""
        first, end = node
        if end - first == 1:
            out = self._buffer()
            compute(first, out, None)
            return out
        left = self._local((first, middle(node)), compute)
        right = self._local((middle(node), end), compute)
        np.add(left, right, out=left)
        self._spare.append(right)
        return left

    def _begun(self, node: Node, compute: Compute) -> tuple[list[Array], int]:
        """The sums of all that stands before the last leaf of a subtree, from its root downwards; and that leaf."""
        (first, end), lefts = node, list[Array]()
        while end - first > 1:
            half = middle((first, end))
            lefts.append(self._local((first, half), compute))
            first = half
        return lefts, first

    def _buffer(self) -> Array:
        return self._spare.pop() if self._spare else np.zeros(self._length, self._dtype)

    # ---- over ranks -------------------------------------------------------------------------------------------------

    def _total_of_others(self, exchanges: Callable[[], None]) -> Array:
        """The sum, on a rank that has no shard."""
        total, self._added = self._buffer(), 0
        exchanges()
        for part in self._parts:
            self._over_ranks({}, total[part], total[part])
            self._added += 1
        self._spare.append(total)
        return total

    def _over_ranks(self, sums: dict[Node, Array], spare: Array, result: Array) -> None:
        """Add a part over all ranks, into `result`, the first of rank 0's sums and the last of those of others."""
        if self._halving:
            self._all_reduce(result, spare)
            return
        self._node((0, self._shards), sums, spare)
        self._world.broadcast_array(result)

    def _all_reduce(self, array: Array, spare: Array) -> None:
        """Add an array over all ranks, a power of two: rank r with r xor 1, then with r xor 2, and so on.

        Each time a pair shares out what it holds in common; then what is finished is passed back the same way.
        """
        world = self._world
        start, stop, distance = 0, len(array), 1
        passed: list[tuple[int, int, int]] = []
        while distance < world.size:
            half, partner = (start + stop) // 2, world.rank ^ distance
            mine, theirs = ((start, half), (half, stop)) if world.rank < partner else ((half, stop), (start, half))
            world.exchange(array[slice(*theirs)], spare[slice(*mine)], partner)
            np.add(array[slice(*mine)], spare[slice(*mine)], out=array[slice(*mine)])
            passed.append((partner, *theirs))
            (start, stop), distance = mine, distance * 2
        for partner, first, end in reversed(passed):
            world.exchange(array[start:stop], array[first:end], partner)
            start, stop = min(start, first), max(stop, end)

    def _node(self, node: Node, sums: dict[Node, Array], spare: Array) -> None:
        """Bring the sum of a node to the rank of its first leaf."""
        first, end = node
        owner, last = self._rank_of(first), self._rank_of(end - 1)
        if owner == last:
            return  # it has been added up there
        half = middle(node)
        self._node((first, half), sums, spare)
        self._node((half, end), sums, spare)
        other, me = self._rank_of(half), self._world.rank
        if me == owner:
            right = sums[half, end] if me == other else spare
            if me != other:
                self._world.receive(spare, other)
            sums[node] = sums[first, half]
            np.add(sums[node], right, out=sums[node])
        elif me == other:
            self._world.send(sums[half, end], owner)

    def _rank_of(self, shard: int) -> int:
        ranks = self._world.size
        return next(rank for rank in range(ranks) if shard in row_of(rank, ranks, self._shards))


def layout(shapes: Sequence[tuple[int, ...]], alignment: int = 16) -> tuple[list[slice], int]:
    """Where arrays of these shapes lie one after the other in a flat one, and how many elements it has."""
    places, start = list[slice](), 0
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        places.append(slice(start, start + size))
        start += -(-size // alignment) * alignment
    return places, start
