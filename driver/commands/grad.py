"""`netc grad`: the graph of a net's loss and its gradients, or a later stage of it."""

from __future__ import annotations

import click

from ..compiler.passes import dce, differentiate
from ..compiler.training import loss_graph
from ..loading import load_to_train
from ..losses import find_loss
from ..options import NetworkOptions, network_options, output_option, target_options
from ..output import check_results, write_result
from ..passlog import PassLog, pass_options
from ..pipeline import STAGES, Request, build


@click.command("grad")
@network_options
@click.option(
    "--loss", required=True, metavar="TEXT", help="For example softmax_cross_entropy, or a block of the file."
)
@click.option(
    "--wrt", metavar="NAMES", help="Parameters and inputs, joined by commas; default: all trained parameters."
)
@click.option("--emit", type=click.Choice(STAGES), default="graph", show_default=True, help="Write this stage.")
@target_options
@output_option
@pass_options
def grad_command(
    network: NetworkOptions,
    log: PassLog,
    loss: str,
    wrt: str | None,
    emit: str,
    threads: int | None,
    cpu: str | None,
    output: str | None,
) -> None:
    """Write the gradients of a loss as a graph.

    MODEL is a shipped model's name or the path of a file. The graph takes the net's input and `labels`; it gives
    the loss, the number of right answers where the loss knows them, and the gradients in the order of --wrt.
    """
    check_results((output,), (network.model,))
    graph, _ = load_to_train(network.model, **network.reading)
    forward = loss_graph(graph, loss=find_loss(loss, network.model, graph))
    names = None if wrt is None else [name.strip() for name in wrt.split(",")]
    gradients = dce(differentiate(forward, 0, names))
    compilation = build(Request(gradients, threads=threads, cpu=cpu, observers=tuple(log.observers)), until=emit)
    write_result(compilation.emit(emit), output)
    log.report()
