"""`netc check`: the diagnostics of a `.net` file, or what the Edge TPU compiler would do, for people or for tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ..compiler.edgetpu import (
    LATEST,
    ModelFacts,
    Release,
    Report,
    model_facts,
    predict,
    to_data,
    to_text,
)
from ..compiler.errors import Diagnostic, Location, NetcError
from ..compiler.graph.ir import Graph
from ..compiler.ops.opaque import unknown_operators
from ..compiler.passes import legalize_edgetpu
from ..edgetpu import facts_of_file, write_report
from ..frontend import FORMATS, check, format_of
from ..frontend.diagnostics import to_json
from ..loading import load
from ..options import allow_import_option, json_option, size_options
from ..output import check_results, echo
from ..recipe_check import check_recipes
from ..runtime.saved import SavedFile, is_saved


@click.command("check")
@click.argument("file")
@click.option("--target", type=click.Choice(["edgetpu"]), help="Say what this device's compiler would do with the net.")
@click.option(
    "--against",
    type=click.Choice(["reference", "onnxruntime"]),
    help="Compare an ONNX file node by node with its reference evaluator, or ONNX Runtime.",
)
@click.option("--net", metavar="NAME", help="Which net of the file, or signature; of a .net file with --target.")
@size_options
@allow_import_option
@click.option("--release", metavar="N.N", help=f"With --target: release of edgetpu_compiler; default: {LATEST}.")
@click.option("--report", metavar="FILE", help="With --target: write it here too, as a page or (.json) as data.")
@json_option
def check_command(
    file: str,
    target: str | None,
    against: str | None,
    net: str | None,
    settings: dict[str, object],
    batch: int,
    release: str | None,
    report: str | None,
    as_json: bool,
) -> int:
    """Find the errors in a .net file, what netc can't run of a .tflite or .onnx file, or damage of a .netc file.

    The exit code is 2 if there are any, or with --against if a result differs. With --target edgetpu, FILE may also be
    a shipped net.
    """
    check_results((report,), (file,))
    if against:
        if target or net or release or report:
            raise NetcError("--against goes with --set and --batch alone")
        return _compare(file, against, settings, batch, as_json)
    if is_saved(file):
        if target or net or settings or batch != 1 or release or report:
            raise NetcError(f"{file} is a saved program: only its soundness can be checked")
        return _check_saved(file, as_json)
    if target:
        chosen = Release.parse(release) if release else LATEST
        if format_of(file) is FORMATS["tflite"]:
            _show(predict(_facts_of_tflite(file, net, settings, batch), chosen), report, as_json)
        else:
            graph = load(file, net=net, batch=batch, settings=settings)
            prediction = predict(model_facts(graph), chosen)
            _show(prediction, report, as_json, _advice(graph, prediction))
        return 0
    if release or report:
        raise NetcError("--release and --report need --target", hint="add --target edgetpu")
    return _check_file(file, net, settings, batch, as_json)


def _check_saved(file: str, as_json: bool) -> int:
    """Compare all of a saved program with its checksums, and say whether this machine can run it."""
    try:
        saved = SavedFile(file)
        saved.verify_weights()
        saved.check_machine()
    except NetcError as error:
        if not as_json:
            raise
        echo(to_json(error.diagnostics))
        return 2
    echo(to_json([]) if as_json else f"{file}: no errors")
    return 0


def _compare(file: str, against: str, settings: dict[str, object], batch: int, as_json: bool) -> int:
    """Compare an ONNX file with another engine."""
    if format_of(file) is not FORMATS["onnx"]:
        raise NetcError(f"--against is for ONNX files, and {file} is a {format_of(file).name}")
    from ..against import compare_with

    try:
        agreement = compare_with(file, against, settings, batch)
    except NetcError as error:
        if not as_json:
            raise error.at(Location(file, 1, 1)) from None
        echo(to_json(error.diagnostics))
        return 2
    echo(to_json([]) if as_json else f"{file}: {agreement}")
    return 0


def _check_file(file: str, net: str | None, settings: dict[str, object], batch: int, as_json: bool) -> int:
    diagnostics = _problems(file, net, settings, batch)
    if as_json:
        echo(to_json(diagnostics))
        return 2 if diagnostics else 0
    if diagnostics:
        raise NetcError(diagnostics)
    echo(f"{file}: no errors")
    return 0


def _problems(file: str, net: str | None, settings: dict[str, object], batch: int) -> Sequence[Diagnostic]:
    """What is wrong with a file; of other formats than .net, such as TFLite, else the operators that netc can't run."""
    try:
        if format_of(file) is not FORMATS["net"]:
            return unknown_operators(load(file, net=net, batch=batch, settings=settings))
    except NetcError as error:
        return error.diagnostics
    if net or settings or batch != 1:
        raise NetcError("--net, --set and --batch need --target with .net files", hint="add --target edgetpu")
    return _check_net(file)


def _check_net(file: str) -> Sequence[Diagnostic]:
    """What is wrong with a .net file, its recipes included."""
    diagnostics = check(file)
    return diagnostics + ([] if any(d.location is None for d in diagnostics) else check_recipes(file))


def _facts_of_tflite(file: str, net: str | None, settings: dict[str, object], batch: int) -> ModelFacts:
    if net or settings or batch != 1:
        raise NetcError(f"{file} is predicted as it is, without --net, --set and --batch")
    return facts_of_file(Path(file))


def _advice(graph: Graph, prediction: Report) -> str:
    """What the pass legalize-edgetpu would change."""
    legal = legalize_edgetpu(graph)
    if legal is graph or not prediction.causes:
        return ""
    better = predict(model_facts(legal), prediction.release)
    counts = f"{len(better.mapped)} of {len(better.rows)} operators"
    return f"\nThe pass legalize-edgetpu rewrites what it can; {counts} would run on the Edge TPU then.\n"


def _show(prediction: Report, report: str | None, as_json: bool, advice: str = "") -> None:
    if report:
        write_report(prediction, report)
    if as_json:
        echo(json.dumps(to_data(prediction), indent=1))
    else:
        echo(to_text(prediction) + advice, nl=False)
