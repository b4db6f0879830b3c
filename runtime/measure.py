"""How long things take: repeated runs, the machine's peak arithmetic rate, shares of time by operator."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..compiler.backends.cpu.codegen.jit import load_kernel
from ..compiler.errors import Location
from ..compiler.loops.ir import Allocate, Buffer, Const, Fma, For, Kernel, Let, Load, LoopKind, Space, Store, Var
from ..compiler.targets.target import Target
from ..compiler.types import DType
from .program import Array, Program


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each of several runs, sorted."""

    seconds: tuple[float, ...]

    @property
    def minimum(self) -> float:
        """The quickest run."""
        return self.seconds[0]

    @property
    def median(self) -> float:
        """The run in the middle."""
        return self.quantile(0.5)

    @property
    def p95(self) -> float:
        """95 of 100 runs were at least as quick."""
        return self.quantile(0.95)

    def quantile(self, share: float) -> float:
        """The nearest run that at least `share` of all runs are not slower than."""
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]


def benchmark(run: Callable[[], object], seconds: float = 2.0, warmup: float = 0.3, at_least: int = 5) -> Timing:
    """Call `run` for about `seconds`, and at least `at_least` times, after a warm-up that is not counted."""
    _repeat(run, warmup, 1)
    return Timing(tuple(sorted(_repeat(run, seconds, at_least))))


def _repeat(run: Callable[[], object], seconds: float, at_least: int) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One kernel call of a program: what it does, where that was written, the seconds it takes."""

    label: str
    location: str
    seconds: float
    share: float
    """Of the whole run, 0 to 1."""
    gflops: float


def profile_rows(program: Program, inputs: Sequence[Array], runs: int = 10) -> list[ProfileRow]:
    """The calls of a program in order, with the median time of each over several runs."""
    program(*inputs)
    times = np.median([program.profile(*inputs) for _ in range(runs)], axis=0) / 1e9
    total = float(times.sum()) or 1.0
    return [
        ProfileRow(
            call.label,
            _place(call.location),
            float(seconds),
            float(seconds) / total,
            2 * call.macs / float(seconds) / 1e9 if seconds else 0.0,
        )
        for call, seconds in zip(program.module.calls, times, strict=True)
    ]


def _place(location: Location | None) -> str:
    """`resnet.net:17:12`: the file's name without its folder."""
    return f"{Path(location.file).name}:{location.line}:{location.column}" if location else ""


# ---- the machine's peak ---------------------------------------------------------------------------------------------

_STEPS = 2_000_000
"""Steps of the peak kernel's loop: about ten milliseconds."""


def peak_flops(target: Target, threads: int, seconds: float = 0.3) -> float:
    """Measured f32 multiply-add rate of `threads` cores, in FLOP/s (a multiply-add counts as two).

    The kernel keeps enough independent accumulators in registers to hide the latency of a multiply-add, and touches no
    memory: no f32 network can run faster on this target.
    """
    lanes, tiles = target.vector_lanes, min(12, target.vector_registers - 4)
    kernel = load_kernel(_peak_kernel(lanes, tiles, threads), target)
    factors = np.repeat(np.array([[0.5], [0.25]], np.float32), lanes, axis=1)
    sums = np.zeros((threads, tiles, lanes), np.float32)

    def run() -> None:
        workers = [threading.Thread(target=kernel.run, args=([factors, sums], t, threads)) for t in range(1, threads)]
        for worker in workers:
            worker.start()
        kernel.run([factors, sums], 0, threads)
        for worker in workers:
            worker.join()

    return 2.0 * _STEPS * sums.size / benchmark(run, seconds, 0.05).minimum


def _peak_kernel(lanes: int, tiles: int, threads: int) -> Kernel:
    """Each thread repeats `tile = tile * 0.5 + 0.25` on its own tiles of registers."""
    factors = Buffer("factors", DType.F32, (2, lanes))
    sums = Buffer("sums", DType.F32, (threads, tiles, lanes), Space.OUT)
    tile = Buffer("tile", DType.F32, (tiles,), Space.REGISTER, lanes)
    thread, i, zero = Var("thread"), Var("i"), Const(0)
    scale = Let("scale", Load(factors, (zero, zero), lanes))
    shift = Let("shift", Load(factors, (Const(1), zero), lanes))

    def each_tile(store: Store) -> For:
        return For("i", zero, Const(tiles), (store,), LoopKind.UNROLL)

    update = each_tile(Store(tile, (i,), Fma(Load(tile, (i,)), scale.var, shift.var)))
    body = (
        Allocate(tile),
        scale,
        shift,
        each_tile(Store(tile, (i,), scale.var)),
        For("step", zero, Const(_STEPS), (update,)),
        each_tile(Store(sums, (thread, i, zero), Load(tile, (i,)))),
    )
    return Kernel("peak", (factors, sums), (For("thread", zero, Const(threads), body, LoopKind.PARALLEL),))
