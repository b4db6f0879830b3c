"""The processes that work on one job, called ranks: `Alone`, or those that an MPI launcher has started.

MPI is imported only where a launcher says so in the environment: a plain `netc train` needs no mpi4py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ..host import available_cores
from . import meeting
from .launcher import launcher, rank_of_process

Array = NDArray[Any]

MEETING_SECONDS = 600.0
"""How long a rank waits for the others to start."""
_BUSY_SECONDS = 50e-6
_NAP_SECONDS = 1e-3


class World(Protocol):
    """Ranks that send each other arrays and small objects."""

    rank: int
    size: int
    threaded: bool
    """Whether another thread may send and receive, while the first does not."""
    over: bool
    """Whether all ranks know that they end, so that none has to be ended."""

    @property
    def cores(self) -> int:
        """Processors that this rank may use: those that several ranks may use are shared out."""
        ...

    def broadcast(self, message: Any) -> Any:
        """The message of rank 0, on every rank."""
        ...

    def gather(self, message: Any) -> list[Any]:
        """On rank 0 the messages of all ranks, in their order; an empty list on the others."""
        ...

    def broadcast_array(self, array: Array, root: int = 0) -> None:
        """Overwrite an array by that of a rank."""
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
    threaded = False
    over = False

    @property
    def cores(self) -> int:
        """All that this process may use."""
        return available_cores()

    def broadcast(self, message: Any) -> Any:
        """The message."""
        return message

    def gather(self, message: Any) -> list[Any]:
        """The message as a list."""
        return [message]

    def broadcast_array(self, array: Array, root: int = 0) -> None:
        """Nothing to do."""

    def _nobody(self, *_: Any, **__: Any) -> Any:
        """There is no rank to send to or to receive from."""
        raise AssertionError("there is no other rank")

    send = receive = exchange = send_message = receive_message = _nobody

    def abort(self, status: int) -> None:
        """Nothing to end."""


ALONE = Alone()


class MpiWorld:
    """The ranks of MPI_COMM_WORLD, in a communicator of netc's own."""

    def __init__(self, mpi: Any, problem: str | None = None) -> None:
        """`mpi` is mpi4py's module, and initialised; `problem` is why this rank can't take part, if it can't."""
        self._comm = mpi.COMM_WORLD.Dup()
        self.over = False
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        levels, problems = zip(*self._comm.allgather((mpi.Query_thread(), problem)), strict=True)
        self.threaded = min(levels) >= mpi.THREAD_SERIALIZED
        self.problems: dict[int, str] = {rank: said for rank, said in enumerate(problems) if said is not None}
        """Why ranks can't take part; then there is nothing to take part in."""
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        neighbours = self._comm.Split_type(mpi.COMM_TYPE_SHARED).allgather(own)
        self._sharers: int = neighbours.count(own)

    @property
    def cores(self) -> int:
        """An equal part of the processors that ranks of this machine have in common."""
        return max(1, available_cores() // self._sharers)

    def broadcast(self, message: Any) -> Any:
        """The message of rank 0, on every rank."""
        return self._comm.bcast(message)

    def gather(self, message: Any) -> list[Any]:
        """On rank 0 the messages of all ranks, in their order; an empty list on the others."""
        return self._comm.gather(message) or []

    def broadcast_array(self, array: Array, root: int = 0) -> None:
        """Overwrite an array by that of a rank."""
        _wait_for([self._comm.Ibcast(_bytes(array), root)])

    def send(self, array: Array, to: int) -> None:
        """Send an array to a rank, which receives it."""
        _wait_for([self._comm.Isend(_bytes(array), to)])

    def receive(self, array: Array, source: int) -> None:
        """Overwrite an array by the next that a rank sends here."""
        _wait_for([self._comm.Irecv(_bytes(array), source)])

    def exchange(self, mine: Array, theirs: Array, partner: int) -> None:
        """Send `mine` to a rank and overwrite `theirs` by what it sends here."""
        _wait_for([self._comm.Irecv(_bytes(theirs), partner), self._comm.Isend(_bytes(mine), partner)])

    def send_message(self, message: Any, to: int) -> None:
        """Send an object to a rank, which receives it."""
        self._comm.send(message, to)

    def receive_message(self, source: int) -> Any:
        """The next object that a rank sends here."""
        return self._comm.recv(source=source)

    def abort(self, status: int) -> None:
        """End all ranks at once."""
        self._comm.Abort(status)


def _wait_for(requests: list[Any]) -> None:
    """Return when messages have been passed.

    MPI's own waiting keeps a processor busy. That belongs to the computation beside it, or to another rank: after a
    moment this waits in naps, of an eighth of the time that it has waited.
    """
    begun = time.perf_counter()
    while not requests[0].Testall(requests):
        waited = time.perf_counter() - begun
        if waited > _BUSY_SECONDS:
            time.sleep(min(waited / 8, _NAP_SECONDS))


def _bytes(array: Array) -> Array:
    """The memory of a contiguous array: element types don't concern MPI, which adds nothing up here."""
    return array.reshape(-1).view(np.uint8)


def end_all_ranks(status: int, problem: str | None = None) -> None:
    """End the job with an exit code, if this process is one of several.

    Where ranks have not met yet, the others wait for it: it meets them to tell the problem.
    """
    if launcher() is None:
        return
    if this_world.cache_info().currsize:
        if not this_world().over:
            this_world().abort(status)
        return
    if problem is not None:
        with suppress(NetcError):
            _meet(problem)


class RankFailedError(NetcError):
    """A rank could not begin: none does."""


@cache
def this_world() -> World:
    """The ranks of this job; raises `NetcError` if a launcher has started several and mpi4py is missing or isn't its.

    A process of several that MPI takes for the only one belongs to a launcher of another MPI: each would train alone.
    """
    return ALONE if launcher() is None else _meet()


def _meet(why_not: str | None = None) -> MpiWorld:
    """The ranks that a launcher has started, all of which call this once; `why_not` is why this one can't take part."""
    who = launcher()
    assert who is not None, "a launcher has started this process"
    problem = f"{who} has started several processes, but"
    mpi, vendor = _loaded(problem)
    if not speaks_with_launcher(mpi.Get_library_version()):
        raise NetcError(f"{problem} the MPI library of mpi4py, {vendor}, can't speak with it", hint=_hint(who))
    if mpi.Is_initialized():
        if why_not is not None:
            raise NetcError("ranks meet once")
        world = MpiWorld(mpi)
    else:
        with _for_a_while(rank_of_process()):
            mpi.Init_thread()
            world = MpiWorld(mpi, why_not)
    if world.size == 1:
        raise NetcError(f"{problem} each is alone in its MPI library, {vendor}", hint=_hint(who))
    if world.problems:
        rank, said = min(world.problems.items())
        raise RankFailedError(f"rank {rank} ended before it began: {said}")
    return world


@contextmanager
def _for_a_while(rank: int, seconds: float = MEETING_SECONDS) -> Iterator[None]:
    """Let another process end this one, with a message, if ranks don't meet within the context."""
    command = [sys.executable, "-I", "-S", meeting.__file__, str(seconds), str(rank), str(os.getpid())]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
    except OSError:
        yield
        return
    with process:
        yield


def _loaded(problem: str) -> tuple[Any, str]:
    """mpi4py's module, not initialised yet unless somebody has done so, and the name of the library that it found."""
    try:
        import mpi4py

        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where the MPI library itself is missing
        hint = 'pip install "netc[mpi]" brings mpi4py, and MPICH with its mpiexec'
        raise NetcError(f"{problem} mpi4py can't be used: {why_not_loaded(str(error))}", hint=hint) from None
    name, version = MPI.get_vendor()
    return MPI, f"{name} {'.'.join(map(str, version))}"


def why_not_loaded(text: str) -> str:
    """What mpi4py says of the places where it has looked for a library, in one line.

    That most of them don't have it is no news. That one is there, and something that it needs is missing, is.
    """
    first, *others = text.splitlines() or [""]
    usual = re.compile(
        r"(.*/)?libmpi(_abi)?\.so[.0-9]*: (cannot open shared object|file too short|invalid ELF header).*"
    )
    reasons = [line for line in others if not usual.fullmatch(line)]
    if path := os.environ.get("MPI4PY_LIBMPI"):
        reasons.append(f"MPI4PY_LIBMPI is {path}")
    return "; ".join([first, *dict.fromkeys(reasons)])


def speaks_with_launcher(library: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an MPI library, by its text of versions, understands what started this process.

    An MPICH that was built without PMIx ends a process that only PMIx speaks to, in words that name no cure. An Open
    MPI that MPICH's own launcher has started warns in many words, and is alone.
    """
    only_pmix = "PMIX_NAMESPACE" in environment and not {"PMI_FD", "PMI_PORT", "PMI_RANK"} & environment.keys()
    if library.startswith("MPICH"):
        return not only_pmix or "pmix" in library.lower()
    return not (library.startswith("Open MPI") and "HYDI_CONTROL_FD" in environment)


def _hint(who: str) -> str:
    hint = "start it with the mpiexec that belongs to the MPI library of mpi4py"
    if who == "srun":
        hint += ", or with srun --mpi=pmi2 (or what else `srun --mpi=list` and this library have in common)"
    return hint
