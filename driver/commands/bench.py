"""`netc bench`: how fast a net runs, and where the time goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click
import numpy as np

from ..compiler.precision import F32
from ..compiler.signature import Array, Network
from ..options import (
    NetworkOptions,
    json_option,
    network_options,
    precision_option,
    target_options,
    weights_options,
)
from ..output import duration, echo, format_table
from ..pipeline import target_of
from ..ready import Ready, ready
from ..runtime.measure import ProfileRow, Timing, benchmark, peak_flops, profile_rows


@click.command("bench")
@network_options
@weights_options
@target_options
@precision_option
@click.option("--seconds", type=click.FloatRange(0, 3600), default=2.0, show_default=True, help="How long to measure.")
@click.option("--profile", is_flag=True, help="Also print a table of times by operator.")
@json_option
def bench_command(
    network: NetworkOptions,
    weights: str | None,
    seed: int,
    threads: int | None,
    cpu: str | None,
    precision: str,
    seconds: float,
    profile: bool,
    as_json: bool,
) -> None:
    """Measure how fast a net runs.

    MODEL is a shipped model's name or the path of a .net, .tflite, .onnx or .netc file. Prints median, minimum and 95th
    percentile of the run time, and the arithmetic rate, also as a share of what this machine was measured to reach.
    """
    target = target_of(cpu)
    made = ready(
        network.model, **network.reading, weights=weights, seed=seed, threads=threads, cpu=cpu, precision=precision
    )
    with made.program as program:
        inputs = random_inputs(made.network)
        timing = benchmark(lambda: program(*inputs), seconds)
        rows = profile_rows(program, inputs) if profile else None
    peak = peak_flops(target, made.program.threads)
    if as_json:
        echo(json.dumps(_summary(made, timing, peak, rows), indent=1))
    else:
        echo(_report(made, timing, peak) + ("\n" + _profile_table(rows) if rows else ""), nl=False)


def random_inputs(graph: Network) -> list[Array]:
    """Normally distributed floats, small whole numbers for other types; the same on every run."""
    random = np.random.default_rng(0)
    return [
        random.standard_normal(v.type.shape).astype(v.type.dtype.numpy)
        if v.type.dtype.is_float
        else random.integers(0, 2, v.type.shape).astype(v.type.dtype.numpy)
        for v in graph.inputs
    ]


def _summary(made: Ready, timing: Timing, peak: float, rows: Sequence[ProfileRow] | None) -> dict[str, object]:
    rate = 2 * made.macs / timing.median
    summary: dict[str, object] = {
        "net": made.network.name,
        "batch": made.batch,
        "threads": made.program.threads,
        "cpu": made.cpu,
        "precision": made.precision,
        "runs": len(timing.seconds),
        "median_ms": timing.median * 1e3,
        "min_ms": timing.minimum * 1e3,
        "p95_ms": timing.p95 * 1e3,
        "gflops": rate / 1e9,
        "peak_gflops": peak / 1e9,
        "peak_share": rate / peak,
    }
    if rows is not None:
        summary["profile"] = [asdict(row) for row in rows]
    return summary


def _report(made: Ready, timing: Timing, peak: float) -> str:
    rate = 2 * made.macs / timing.median
    count = made.program.threads
    threads = f"{count} thread" + ("s" if count > 1 else "")
    speed = f"{rate / 1e9:.1f} GFLOP/s, {rate / peak:.0%} of this machine's measured peak of {peak / 1e9:.1f} GFLOP/s"
    narrow = f", {made.precision}" if made.precision != F32 else ""
    return (
        f"{made.network.name}{narrow}, batch {made.batch}, {threads}, {made.cpu}, {len(timing.seconds)} runs\n"
        f"median {duration(timing.median)}, min {duration(timing.minimum)}, p95 {duration(timing.p95)}\n"
        f"{speed if rate else 'no multiply-accumulates'}\n"
    )


def _profile_table(rows: Sequence[ProfileRow]) -> str:
    total = sum(row.seconds for row in rows)
    return format_table(
        ("operators", "at", "ms", "share", "GFLOP/s"),
        [
            (row.label, row.location, f"{row.seconds * 1e3:.3f}", f"{row.share:.1%}", f"{row.gflops:.1f}")
            for row in rows
        ],
        ("total", "", f"{total * 1e3:.3f}", "100.0%", ""),
    )
