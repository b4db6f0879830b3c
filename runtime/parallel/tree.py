"""Sums over shards in the order of one binary tree, whoever holds which shard.

The tree over n leaves splits them in halves, the first of which has the larger power of two: ((0 + 1) + (2 + 3)) + ...
Each rank holds a row of consecutive shards. It adds up the subtrees that lie in its row; what remains of the tree goes
over ranks. With powers of two that is a reduce-scatter by recursive halving and an all-gather by recursive doubling
(Rabenseifner, Optimization of collective reduction operations, 2004), whose partners are chosen so that they add in the
tree's order; otherwise sums go to the rank of a node's first leaf, and from rank 0 to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .world import World

Array = NDArray[Any]
Node = tuple[int, int]
"""The leaves of a subtree: first, and one after the last."""


def row_of(rank: int, ranks: int, shards: int) -> range:
    """The shards of a rank."""
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

    def __init__(self, world: World, shards: int, length: int, dtype: Any = np.float32) -> None:
        """`shards` of a batch, at least one for each rank; `length` elements are added for each of them."""
        self._world = world
        self._shards = shards
        self._row = row_of(world.rank, world.size, shards)
        self._spare: list[Array] = []
        self._length, self._dtype = length, dtype
        self._halving = not world.size & (world.size - 1) and shards % world.size == 0
        self._halving &= not (shards // world.size) & (shards // world.size - 1)

    @property
    def bytes(self) -> int:
        """Of the array of a shard."""
        return self._length * int(np.dtype(self._dtype).itemsize)

    @property
    def row(self) -> range:
        """The shards of this rank."""
        return self._row

    def total(self, compute: Callable[[int, Array], None], exchanges: Callable[[], None] = lambda: None) -> Array:
        """The sum over all shards, equal on all ranks; `compute(shard, out)` writes what a shard of this rank gives.

        Valid until the next call. `exchanges` is called when this rank has done its part.
        """
        sums = {node: self._local(node, compute) for node in subtrees((0, self._shards), self._row)}
        exchanges()
        if self._world.size == 1:
            (total,) = sums.values()
        elif self._halving:
            (total,) = sums.values()
            self._all_reduce(total)
        else:
            total = self._to_first(sums)
            self._world.broadcast_array(total)
        self._spare.append(total)
        return total

    # ---- on one rank ------------------------------------------------------------------------------------------------

    def _local(self, node: Node, compute: Callable[[int, Array], None]) -> Array:
        """The sum of a subtree that is this rank's own."""
        first, end = node
        if end - first == 1:
            out = self._buffer()
            compute(first, out)
            return out
        left = self._local((first, middle(node)), compute)
        self._add(left, self._local((middle(node), end), compute))
        return left

    def _buffer(self) -> Array:
        return self._spare.pop() if self._spare else np.zeros(self._length, self._dtype)

    def _add(self, left: Array, right: Array) -> None:
        np.add(left, right, out=left)
        self._spare.append(right)

    # ---- over ranks -------------------------------------------------------------------------------------------------

    def _all_reduce(self, array: Array) -> None:
        """Add an array over all ranks, a power of two: rank r with r xor 1, then with r xor 2, and so on.

        Each time a pair shares out what it holds in common; then what is finished is passed back the same way.
        """
        world, spare = self._world, self._buffer()
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
        self._spare.append(spare)

    def _to_first(self, sums: dict[Node, Array]) -> Array:
        """The sum over all ranks, on rank 0; elsewhere an array of the same size."""
        self._node((0, self._shards), sums)
        return sums.pop((0, self._shards)) if self._world.rank == 0 else self._buffer()

    def _node(self, node: Node, sums: dict[Node, Array]) -> None:
        """Bring the sum of a node to the rank of its first leaf."""
        first, end = node
        owner, last = self._rank_of(first), self._rank_of(end - 1)
        if owner == last:
            return  # it has been added up there
        half = middle(node)
        self._node((first, half), sums)
        self._node((half, end), sums)
        other, me = self._rank_of(half), self._world.rank
        if me == owner == other:
            sums[node] = sums.pop((first, half))
            self._add(sums[node], sums.pop((half, end)))
        elif me == owner:
            sums[node] = sums.pop((first, half))
            spare = self._buffer()
            self._world.receive(spare, other)
            self._add(sums[node], spare)
        elif me == other:
            sent = sums.pop((half, end))
            self._world.send(sent, owner)
            self._spare.append(sent)

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
