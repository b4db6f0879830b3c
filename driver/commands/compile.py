"""`netc compile`: for a processor, with a summary or what stands at the end of one stage; or for the Edge TPU.

What the latter needs is imported when it is asked for: it takes as long as compiling for a processor.
"""

from __future__ import annotations

import json
from typing import Any

import click

from ..classes import usable_labels
from ..collector import without_collections
from ..compile_options import CompileOptions
from ..compiler.errors import NetcError
from ..compiler.quantization import METHODS
from ..notes import show_notes
from ..options import (
    json_option,
    network_options,
    output_option,
    precision_option,
    preprocess_option,
    target_options,
)
from ..output import check_results, echo, quantity, write_result
from ..passlog import pass_options, stage_table
from ..pipeline import PROGRAM, STAGES, Compilation, Request, build, load_program
from ..runtime.cache import CompiledObject
from ..saving import save_program
from ..summary import parameter_bytes, total_macs, trainable_parameters

_FOR_DEVICE = ("calibrate", "samples", "method", "equalize", "release", "report")
_FOR_RUNNING = ("preprocess", "weights")
_FOR_CPU = ("emit", "cpu", "precision", "print_after", "print_changed", "time_passes")
"""Options that only one of the two targets has, and those that a stage has no use for."""


@click.command("compile")
@network_options
@target_options
@precision_option
@click.option("--emit", type=click.Choice(STAGES), help="Write this stage instead of a summary.")
@output_option
@click.option("--target", type=click.Choice(["edgetpu"]), help="Quantize for this device and write a TFLite file.")
@click.option("--weights", metavar="FILE", help="With --target or -o FILE.netc: weights (safetensors).")
@preprocess_option
@click.option("--calibrate", metavar="PATH", help="With --target: folder or ZIP of pictures, or a data set.")
@click.option("--samples", type=click.IntRange(1), default=100, show_default=True, help="How many pictures.")
@click.option("--method", type=click.Choice(list(METHODS)), default="mse", show_default=True, help="Choice of ranges.")
@click.option("--equalize", is_flag=True, help="Rescale weights of neighbouring layers first.")
@click.option("--release", metavar="N.N", help="Predict for this release of edgetpu_compiler; default: the newest.")
@click.option("--report", metavar="FILE", help="Write the prediction here too, as a page or (.json) as data.")
@pass_options
@json_option
@click.pass_context
def compile_command(context: click.Context, /, **options: Any) -> None:
    """Compile a net and say what was done, stage by stage.

    MODEL is a shipped model's name or the path of a .net, .tflite or .onnx file. Object code stays in the cache.

    With -o FILE.netc, code and packed --weights are written into one file, which `netc run`, `bench`, `eval` and
    `netc.load_program` take: it is mapped, and starts at once.

    With --target edgetpu, the net is rewritten for that device and quantized with --calibrate, and with --weights
    unless its file holds them (a .tflite file is taken as it is); what the Edge TPU will do with the TFLite file is
    predicted, and edgetpu_compiler is called where it is installed.
    """
    said = click.core.ParameterSource.COMMANDLINE
    given = {name for name in context.params if context.get_parameter_source(name) is said}
    o = CompileOptions(**options)
    check_results((o.output, o.report), (o.network.model, o.weights, o.calibrate))
    if o.target:
        _refuse(given.intersection(_FOR_CPU), "not for --target edgetpu")
        from ..edgetpu_command import compile_for_edgetpu

        compile_for_edgetpu(o)
    else:
        _refuse(given.intersection(_FOR_DEVICE), "for --target edgetpu")
        if not o.saved:
            _refuse(given.intersection(_FOR_RUNNING), "for --target edgetpu, or for -o FILE.netc")
        _for_cpu(o)


def _refuse(names: set[str], why: str) -> None:
    if names:
        flags = ", ".join(sorted("--" + name.replace("_", "-") for name in names))
        raise NetcError(f"{flags} {'is' if len(names) == 1 else 'are'} {why}")


@without_collections(lasting=True)
def _for_cpu(o: CompileOptions) -> None:
    if o.output and not o.emit and o.saved is None:
        hint = "for example --emit object -o net.o; or -o net.netc for a program with its weights"
        raise NetcError("-o needs --emit", hint=hint)
    request = Request(
        o.network.model,
        **o.network.reading,
        preprocess=o.preprocess,
        weights=o.weights,
        threads=o.threads,
        cpu=o.cpu,
        precision=o.precision,
        observers=tuple(o.log.observers),
        tiles=o.emit != "object",
    )
    until = PROGRAM if o.saved is not None else o.emit or STAGES[-1]
    compilation = build(request, until=until, whole=bool(o.emit))
    if o.saved is not None:
        _save(compilation, o.network.model, o.weights, o.saved)
    if o.emit:
        write_result(compilation.emit(o.emit), o.output)
    elif o.as_json:
        echo(json.dumps(_summary(compilation), indent=1))
    else:
        echo(_report(compilation), nl=False)
    o.log.report()


def _save(c: Compilation, model: str, weights: str | None, path: str) -> None:
    """Write the program with its weights, for this machine."""
    labels = usable_labels(c.graph, model, weights)
    drawn = "no --weights given: the program holds He initialisation, so its answers mean nothing"
    show_notes(labels.note, drawn if c.is_drawn else None)
    with load_program(c) as program:
        save_program(path, c, program, labels)


def _summary(c: Compilation) -> dict[str, object]:
    macs = total_macs(c.graph)
    return {
        "net": c.graph.name,
        "target": {"cpu": c.target.cpu, "triple": c.target.triple, "threads": c.threads},
        "batch": c.batch,
        "precision": c.request.precision,
        "stages": [{"name": s.name, "seconds": s.seconds, "result": s.result} for s in c.stages],
        "seconds": sum(s.seconds for s in c.stages),
        "flops": 2 * macs,
        "macs": macs,
        "parameters": trainable_parameters(c.graph),
        "parameter_bytes": parameter_bytes(c.graph),
        "weights_bytes": c.module.weights_bytes,
        "arena_bytes": c.module.arena_bytes,
        "kernels": len(c.module.kernels),
        "calls": len(c.module.calls),
        "object_bytes": len(c.object.code),
        "tuned_kernels": 0 if c.choices is None else len(c.choices),
        "cached": c.object.hit,
        "cache_problem": c.object.problem,
    }


def _cache_note(compiled: CompiledObject) -> str:
    if compiled.problem:
        return f"not kept in the cache: {compiled.problem}"
    return "found in the cache" if compiled.hit else "added to the cache"


def _report(c: Compilation) -> str:
    module, macs = c.module, total_macs(c.graph)
    facts = [
        ("arithmetic", f"{quantity(2 * macs, 'FLOP')} ({macs:,} multiply-accumulates)"),
        ("parameters", f"{trainable_parameters(c.graph):,} ({quantity(parameter_bytes(c.graph), 'B')})"),
        ("packed weights", f"{module.weights_bytes:,} bytes"),
        ("arena", f"{module.arena_bytes:,} bytes"),
        ("kernels", f"{len(module.kernels)} distinct, {len(module.calls)} calls"),
        ("object code", f"{len(c.object.code):,} bytes, {_cache_note(c.object)}"),
    ]
    if c.choices is not None and len(c.choices):
        facts.append(("schedules", f"those of {len(c.choices)} kernels as `netc tune` found them"))
    threads = f"{c.threads} thread" + ("s" if c.threads > 1 else "")
    title = f"{c.graph.name}, batch {c.batch}, for {c.target.cpu}, {threads}"
    return f"{title}\n\n{stage_table(c.stages)}\n" + "".join(f"{name:<16}{text}\n" for name, text in facts)
