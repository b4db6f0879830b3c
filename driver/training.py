"""From a network and a recipe to a compiled training step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from .compiler import passes
from .compiler.backends import optimize
from .compiler.backends.cpu.codegen.host import host_target
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.lowering import footprint
from .compiler.quantization import Ranges, fake_quantize
from .compiler.training import Loss, Optimizer, Schedule, parse_optimizer, training_step
from .losses import find_loss
from .pipeline import Source, Weights, compile_lowered, find_weights, load
from .runtime.host import available_cores, physical_memory
from .runtime.trainer import QatTrainer, Trainer
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
    freeze: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    recompute: bool = True,
    checkpoint_every: int | None = None,
    qat: str | None = None,
    ranges: Ranges | str | os.PathLike[str] | None = None,
) -> Trainer:
    """Compile one training step (forward, backward, update) of a network for this machine.

    `source`, `weights`, `batch`, `threads`, `net`, `settings` and `seed` are those of `netc.compile`; the others those
    of `netc.compiler.training.training_step`. `label_smoothing` and `weight_decay` replace the options of the loss and
    the optimiser. A graph given as source has the batch it was made for.

    `freeze` and `skip` hold patterns of parameters' names, such as `features.*`. What `freeze` matches stays to the
    bit, running statistics included. What `skip` matches is not taken from `weights` but drawn by `seed`, such as a
    head for other classes.

    Two settings exchange work for memory; losses and weights stay the same bit for bit. `recompute`: cheap activations
    are made again where the backward part needs them. `checkpoint_every`: activations are kept at the end of every so
    many layers or residual blocks only, and those between run again (0 chooses the places); see the pass checkpoint.

    `qat` trains with fake quantization, for the network of 8-bit integers that `netc.quantize` makes of the weights and
    ranges afterwards: from `ranges` (or a file of them) that were calibrated, which move with the batches' ("moving")
    or are trained like weights ("learned"). Batch normalisation keeps its running statistics, nothing is dropped, and
    weight decay leaves biases and ranges alone. The result is a `QatTrainer`.

    Raises `NetcError` for what the caller can cure.
    """
    graph = load(source, net=net, batch=batch, settings=settings)
    start = _ranges(qat, ranges)
    given = find_weights(weights, graph, seed, skip=skip)
    fake = fake_quantize(graph, learned=qat == "learned") if start is not None else None
    step = training_step(
        fake.graph if fake is not None else graph,
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
        decay="all" if fake is None else "weights",
        freeze=freeze,
        seed=seed,
    )
    target, threads = host_target(), threads or available_cores()
    optimized = optimize(step, passes.pipelines.training(_memory_pass(recompute, checkpoint_every)), target)
    _check_memory(optimized)
    module, code = compile_lowered(optimized, target, threads)
    params = {**initial_weights(step, seed), **given}
    if fake is None or start is None:
        return Trainer(graph, step, module, code, target, threads, params, seed)
    params |= fake.values(start)
    return QatTrainer(fake, start.samples, graph, step, module, code, target, threads, params, seed)


QAT = ("moving", "learned")
"""What ranges of activations can do in quantization-aware training."""


def _ranges(qat: str | None, ranges: Ranges | str | os.PathLike[str] | None) -> Ranges | None:
    """The ranges to start quantization-aware training from; None for other training."""
    if qat is None:
        return None
    if qat not in QAT:
        raise NetcError(f"in quantization-aware training ranges are {' or '.join(QAT)}, not {qat!r}")
    if ranges is None:
        hint = "netc.calibrate(...).calibration.ranges() finds them"
        raise NetcError("quantization-aware training starts from calibrated ranges", hint=hint)
    return ranges if isinstance(ranges, Ranges) else Ranges.read(os.fspath(ranges))


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
