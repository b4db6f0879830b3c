"""`netc compile`: compile a net and say what was done, or write what stands at the end of one stage."""

from __future__ import annotations

import json

import click

from ..compiler.errors import NetcError
from ..options import batch_option, json_option, network_options, output_option, target_options
from ..output import duration, format_table, quantity, write_result
from ..passlog import PassLog, pass_options
from ..pipeline import STAGES, Compilation, Request, build
from ..runtime.cache import CompiledObject
from ..summary import parameter_bytes, total_macs, trainable_parameters


@click.command("compile")
@network_options
@batch_option
@target_options
@click.option("--emit", type=click.Choice(STAGES), help="Write this stage instead of a summary.")
@output_option
@pass_options
@json_option
def compile_command(
    model: str,
    net: str | None,
    settings: dict[str, object],
    batch: int,
    threads: int | None,
    cpu: str | None,
    emit: str | None,
    output: str | None,
    print_after: tuple[str, ...],
    print_changed: bool,
    time_passes: bool,
    as_json: bool,
) -> None:
    """Compile a net and say what was done, stage by stage.

    MODEL is a shipped model's name or the path of a .net file. Object code stays in the cache.
    """
    if output and not emit:
        raise NetcError("-o needs --emit", hint="for example --emit object -o net.o")
    log = PassLog(print_after, print_changed, time_passes)
    request = Request(model, net, batch, settings, threads, cpu, tuple(log.observers))
    compilation = build(request, until=emit or STAGES[-1])
    if emit:
        write_result(compilation.emit(emit), output)
    elif as_json:
        click.echo(json.dumps(_summary(compilation), indent=1))
    else:
        click.echo(_report(compilation), nl=False)
    log.report()


def _summary(c: Compilation) -> dict[str, object]:
    macs = total_macs(c.graph)
    return {
        "net": c.graph.name,
        "target": {"cpu": c.target.cpu, "triple": c.target.triple, "threads": c.threads},
        "batch": c.request.batch,
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
        "cached": c.object.hit,
        "cache_problem": c.object.problem,
    }


def _cache_note(compiled: CompiledObject) -> str:
    if compiled.problem:
        return f"not kept in the cache: {compiled.problem}"
    return "found in the cache" if compiled.hit else "added to the cache"


def _report(c: Compilation) -> str:
    module, macs = c.module, total_macs(c.graph)
    stages = [(s.name, duration(s.seconds), s.result) for s in c.stages]
    total = duration(sum(s.seconds for s in c.stages))
    facts = [
        ("arithmetic", f"{quantity(2 * macs, 'FLOP')} ({macs:,} multiply-accumulates)"),
        ("parameters", f"{trainable_parameters(c.graph):,} ({quantity(parameter_bytes(c.graph), 'B')})"),
        ("packed weights", f"{module.weights_bytes:,} bytes"),
        ("arena", f"{module.arena_bytes:,} bytes"),
        ("kernels", f"{len(module.kernels)} distinct, {len(module.calls)} calls"),
        ("object code", f"{len(c.object.code):,} bytes, {_cache_note(c.object)}"),
    ]
    threads = f"{c.threads} thread" + ("s" if c.threads > 1 else "")
    title = f"{c.graph.name}, batch {c.request.batch}, for {c.target.cpu}, {threads}"
    table = format_table(("stage", "time", "result"), stages, ("total", total, ""))
    return f"{title}\n\n{table}\n" + "".join(f"{name:<16}{text}\n" for name, text in facts)
