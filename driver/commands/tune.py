"""`netc tune`: searches schedules by measurement."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import click

from ..compiler.errors import NetcError
from ..compiler.text import shortened
from ..notes import show_notes
from ..options import NetworkOptions, json_option, network_options, precision_option, weights_options
from ..output import echo, progress_bar
from ..tuning.report import report
from ..tuning.search import Report
from ..tuning.tune import Tuning, forget, tune

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_LONGEST = 7 * 24 * 3600
_TICKS = 10
"""Of the bar in a second."""


def _seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """`90`, `90s`, `5m`, `1.5h`."""
    match = re.fullmatch(r"(\d{1,7}(?:\.\d{1,3})?)\s*([smh]?)", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise NetcError(f"--budget takes a time, not `{shortened(text)}`", hint="for example 90s, 5m, 1.5h")
    return seconds


@click.command("tune")
@network_options
@weights_options
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; default: one per core.")
@precision_option
@click.option("--budget", default="5m", show_default=True, callback=_seconds, metavar="TIME", help="How long, at most.")
@click.option("--forget", "forgets", is_flag=True, help="Delete what was found for the net; then the defaults count.")
@json_option
def tune_command(network: NetworkOptions, budget: float, forgets: bool, as_json: bool, **given: Any) -> None:
    """Search the schedules of a net by measurement.

    MODEL is a shipped model's name or the path of a .net, .tflite or .onnx file. Other tiles, loops and algorithms of
    its kernels are compiled and run in turns with the default. What makes the whole net faster on this processor is
    kept in the cache, for `run`, `bench`, `eval`, `compile` and netc.compile; nothing is kept that doesn't. It can be
    interrupted at any time: the next search goes on from there.
    """
    given |= network.reading
    if forgets:
        found = forget(network.model, **given)
        echo("forgotten" if found else "there was nothing to forget")
        return
    try:
        tuning = _with_bar(network.model, budget, given)
    except KeyboardInterrupt:
        echo("interrupted: what was measured is kept, and the next search goes on from there", err=True)
        raise
    show_notes(*tuning.notes)
    echo(json.dumps(tuning.summary(), indent=1) if as_json else report(tuning).rstrip("\n"))


def _with_bar(model: str, budget: float, given: dict[str, Any]) -> Tuning:
    """The search under a bar of the time that it may take."""
    with progress_bar(round(budget * _TICKS), "compiling") as bar:
        start = time.monotonic()

        def progress(r: Report) -> None:
            bar.label = f"{r.stage}, trial {r.trial + 1}, {r.faster} faster"
            bar.update(min(round((time.monotonic() - start) * _TICKS), bar.length or 0) - bar.pos)

        tuning = tune(model, budget=budget, progress=progress, **given)
        bar.update((bar.length or 0) - bar.pos)
    return tuning
