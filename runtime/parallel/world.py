"""The processes that work on one job, called ranks: `Alone`, or those that an MPI launcher has started.

MPI is imported only where a launcher says so in the environment: a plain `netc train` needs no mpi4py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError

Array = NDArray[Any]

_LAUNCHERS = (
    ("PMI_SIZE", "mpiexec of MPICH"),
    ("OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"),
    ("PMIX_SIZE", "a PMIx launcher"),
)
"""What launchers tell their processes about their number."""


class World(Protocol):
    """Ranks that send each other arrays and small objects."""

    rank: int
    size: int

    def broadcast(self, message: Any) -> Any:
        """The message of rank 0, on every rank."""
        ...

    def gather(self, message: Any) -> list[Any]:
        """On rank 0 the messages of all ranks, in their order; an empty list on the others."""
        ...

    def broadcast_array(self, array: Array) -> None:
        """Overwrite an array by that of rank 0."""
        ...

    def send(self, array: Array, to: int) -> None:
        """Send an array to a rank, which receives it."""
        ...

    def receive(self, array: Array, source: int) -> None:
        """Overwrite an array by the next that a rank sends here."""
        ...

    def exchange(self, mine: Array, theirs: Array, partner: int) -> None:
        """Send `mine` to a rank and overwrite `theirs` by what it sends here."""
        ...

    def send_message(self, message: Any, to: int) -> None:
        """Send an object to a rank, which receives it."""
        ...

    def receive_message(self, source: int) -> Any:
        """The next object that a rank sends here."""
        ...

    def abort(self, status: int) -> None:
        """End all ranks at once; a process that is alone goes on."""
        ...


class Alone:
    """The world of one process."""

    rank = 0
    size = 1

    def broadcast(self, message: Any) -> Any:
        """The message."""
        return message

    def gather(self, message: Any) -> list[Any]:
        """The message as a list."""
        return [message]

    def broadcast_array(self, array: Array) -> None:
        """Nothing to do."""

    def send(self, array: Array, to: int) -> None:
        """There is nobody."""
        raise AssertionError("there is no other rank")

    def receive(self, array: Array, source: int) -> None:
        """There is nobody."""
        raise AssertionError("there is no other rank")

    def exchange(self, mine: Array, theirs: Array, partner: int) -> None:
        """There is nobody."""
        raise AssertionError("there is no other rank")

    def send_message(self, message: Any, to: int) -> None:
        """There is nobody."""
        raise AssertionError("there is no other rank")

    def receive_message(self, source: int) -> Any:
        """There is nobody."""
        raise AssertionError("there is no other rank")

    def abort(self, status: int) -> None:
        """Nothing to end."""


ALONE = Alone()


class MpiWorld:
    """The ranks of MPI_COMM_WORLD, in a communicator of netc's own."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD.Dup()
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()

    def broadcast(self, message: Any) -> Any:
        """The message of rank 0, on every rank."""
        return self._comm.bcast(message)

    def gather(self, message: Any) -> list[Any]:
        """On rank 0 the messages of all ranks, in their order; an empty list on the others."""
        return self._comm.gather(message) or []

    def broadcast_array(self, array: Array) -> None:
        """Overwrite an array by that of rank 0."""
        self._comm.Bcast(_bytes(array))

    def send(self, array: Array, to: int) -> None:
        """Send an array to a rank, which receives it."""
        self._comm.Send(_bytes(array), to)

    def receive(self, array: Array, source: int) -> None:
        """Overwrite an array by the next that a rank sends here."""
        self._comm.Recv(_bytes(array), source)

    def exchange(self, mine: Array, theirs: Array, partner: int) -> None:
        """Send `mine` to a rank and overwrite `theirs` by what it sends here."""
        self._comm.Sendrecv(_bytes(mine), partner, recvbuf=_bytes(theirs), source=partner)

    def send_message(self, message: Any, to: int) -> None:
        """Send an object to a rank, which receives it."""
        self._comm.send(message, to)

    def receive_message(self, source: int) -> Any:
        """The next object that a rank sends here."""
        return self._comm.recv(source=source)

    def abort(self, status: int) -> None:
        """End all ranks at once."""
        self._comm.Abort(status)


def _bytes(array: Array) -> Array:
    """The memory of a contiguous array: element types don't concern MPI, which adds nothing up here."""
    return array.reshape(-1).view(np.uint8)


def launcher(environment: Mapping[str, str] = os.environ) -> str | None:
    """Who has started this process as one of several; None if nobody has."""
    for name, who in _LAUNCHERS:
        if environment.get(name, "1") != "1":
            return who
    if "SLURM_PROCID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return "srun"
    return None


@cache
def this_world() -> World:
    """The ranks of this job; raises `NetcError` if a launcher has started several and mpi4py is missing or isn't its.

    A process of several that MPI takes for the only one belongs to a launcher of another MPI: each would train alone.
    """
    who = launcher()
    if who is None:
        return ALONE
    try:
        world = MpiWorld()
    except ImportError as error:
        hint = 'pip install "netc[mpi]"'
        raise NetcError(f"{who} has started several processes, but mpi4py can't be used: {error}", hint=hint) from None
    if world.size == 1:
        hint = "start it with the mpiexec that belongs to the MPI library of mpi4py"
        raise NetcError(f"{who} has started several processes, but each is alone in its MPI library", hint=hint)
    return world
