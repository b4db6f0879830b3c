"""From a network and a recipe to a compiled training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from .compiler import passes
from .compiler.codegen import Target, emit_module
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.schedules import footprint, lower
from .compiler.training import Loss, Optimizer, Schedule, parse_optimizer, training_step
from .losses import find_loss
from .pipeline import Source, Weights, find_weights, load
from .runtime.cache import compile_object
from .runtime.host import available_cores, physical_memory
from .runtime.trainer import Trainer
from .runtime.weights import initial_weights

Setting = TypeVar("Setting", Loss, Optimizer)


def compile_training(
    source: Source,
    *,
    weights: Weights = None,
    batch: int = 128,
    threads: int | None = None,
    loss: str | Loss = "softmax_cross_entropy",
    optimizer: str | Optimizer = "sgd(lr=0.01, momentum=0.9)",
    schedule: str | Schedule = "constant",
    steps_per_epoch: float | None = None,
    label_smoothing: float | None = None,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    recompute: bool = True,
    checkpoint_every: int | None = None,
) -> Trainer:
    """Compile one training step (forward, backward, update) of a network for this machine.

    `source`, `weights`, `batch`, `threads`, `net`, `settings` and `seed` are those of `netc.compile`; the others those
    of `netc.compiler.training.training_step`. `label_smoothing` and `weight_decay` replace the options of the loss and
    the optimiser. A graph given as source has the batch it was made for.

    Two settings exchange work for memory; losses and weights stay the same bit for bit. `recompute`: cheap activations
    are made again where the backward part needs them. `checkpoint_every`: activations are kept at the end of every so
    many layers or residual blocks only, and those between run again (0 chooses the places); see the pass checkpoint.

    Raises `NetcError` for what the caller can cure.
    """
    graph = load(source, net=net, batch=batch, settings=settings)
    step = training_step(
        graph,
        loss=_with_option(
            find_loss(loss, source, graph) if isinstance(loss, str) else loss, "label_smoothing", label_smoothing
        ),
        optimizer=_with_option(
            parse_optimizer(optimizer) if isinstance(optimizer, str) else optimizer, "weight_decay", weight_decay
        ),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        clip_norm=clip_norm,
        accumulate=accumulate,
        ema=ema,
        seed=seed,
    )
    target, threads = Target.host(), threads or available_cores()
    optimized = passes.run(step, passes.pipelines.training(_memory_pass(recompute, checkpoint_every)))
    _check_memory(optimized)
    module = lower(optimized, target, threads)
    code = compile_object(emit_module(module, target), target).code
    params = {**initial_weights(step, seed), **find_weights(weights, graph, seed)}
    return Trainer(graph, step, module, code, target, threads, params, seed)


def _memory_pass(recompute: bool, checkpoint_every: int | None) -> str:
    """The pass that exchanges work for memory."""
    if checkpoint_every is None:
        return "recompute" if recompute else ""
    if checkpoint_every < 0:
        raise NetcError(f"checkpoint_every is a number of layers or blocks, not {checkpoint_every}")
    return str(passes.Checkpoint(every=checkpoint_every))


def _check_memory(step: Graph) -> None:
    """Refuse what this machine can't hold before a long compilation."""
    needed, there = footprint(step).total, physical_memory()
    if needed > there:
        message = f"a step works on {needed / 1e9:.3g} GB, but this machine has {there / 1e9:.3g} GB of memory"
        raise NetcError(message, hint="train with a smaller batch, or keep activations at checkpoints only")


def _with_option(setting: Setting, name: str, value: float | None) -> Setting:
    """A loss or optimiser with one option replaced, if a value is given."""
    if value is None:
        return setting
    if not hasattr(setting, name):
        raise NetcError(f"{type(setting).__name__.lower()} has no option `{name}`")
    return replace(setting, **{name: value})
