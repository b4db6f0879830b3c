"""`netc eval`: accuracy of a net on a data set."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import click

from ..options import batch_option, json_option, network_options, target_options
from ..output import duration
from ..pipeline import Request, build, load_program
from ..runtime.evaluate import Evaluation
from ..runtime.training.augment import NO_AUGMENTATION
from ..runtime.training.batches import ArrayMaker, FileMaker
from ..runtime.training.opening import open_source
from ..runtime.training.samples import preparation_for
from ..runtime.training.scoring import score
from ..runtime.training.sources import ArraySource, Source


@click.command("eval")
@network_options
@click.option("--weights", required=True, metavar="FILE", help="Weights (safetensors).")
@click.option(
    "--data", required=True, metavar="NAME", help="mnist, cifar10, imagenet-samples, imagefolder:DIR or FILE.npz."
)
@click.option("--data-dir", metavar="FOLDER", help="Where data sets lie; default: NETC_DATA, else ../shared/data.")
@click.option("--split", default="test", show_default=True, help="test or train.")
@click.option("--limit", type=click.IntRange(1), help="Only so many samples.")
@batch_option
@target_options
@json_option
def eval_command(
    model: str,
    net: str | None,
    settings: dict[str, object],
    weights: str,
    data: str,
    data_dir: str | None,
    split: str,
    limit: int | None,
    batch: int,
    threads: int | None,
    cpu: str | None,
    as_json: bool,
) -> None:
    """Measure a net's accuracy on a data set.

    MODEL is a shipped model's name or the path of a .net file.
    """
    source = _first(open_source(data, split, data_dir), limit)
    compilation = build(Request(model, net, batch, settings, threads, cpu))
    program = load_program(compilation, weights)
    preparation = preparation_for(compilation.graph, source, NO_AUGMENTATION)
    maker = ArrayMaker(source, preparation) if isinstance(source, ArraySource) else FileMaker(source, preparation)
    start = time.perf_counter()
    with click.progressbar(length=len(source), label=data, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        result = score(program, source, maker, batch, lambda done: bar.update(done - bar.pos))
    for reason in result.skipped:
        click.echo(f"skipped: {reason}", err=True)
    click.echo(_as_text(result, data, time.perf_counter() - start) if not as_json else _as_json(result), nl=as_json)


def _first(source: Source, limit: int | None) -> Source:
    """The first samples of a source, all without a limit."""
    if isinstance(source, ArraySource):
        return replace(source, labels=source.labels[:limit], values=source.values[:limit])
    return replace(source, labels=source.labels[:limit], keys=source.keys[:limit])


def _as_json(result: Evaluation) -> str:
    fields = ("samples", "top1_correct", "top5_correct", "top1", "top5")
    return json.dumps({field: getattr(result, field) for field in fields}, indent=1)


def _as_text(result: Evaluation, data: str, seconds: float) -> str:
    return (
        f"{data}: {result.samples} samples in {duration(seconds)}\n"
        f"top-1  {result.top1:7.2%}  ({result.top1_correct} right)\n"
        f"top-5  {result.top5:7.2%}  ({result.top5_correct} right)\n"
    )
