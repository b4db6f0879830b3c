"""From a network and a recipe to a compiled training step: a request that walks the stages of `netc.pipeline`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .compiler import passes
from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.quantization import FakeQuantized, Ranges, fake_quantize
from .compiler.training import Loss, Optimizer, Rates, Schedule, parse_optimizer, sharded_step, training_step
from .loading import Source, Weights, find_weights, load_to_train
from .losses import find_loss
from .pipeline import PROGRAM, Compilation, Request, build, load_program
from .runtime.parallel.model import BUCKET_BYTES
from .runtime.parallel.team import LeadingTrainer
from .runtime.parallel.trainer import ShardedTrainer
from .runtime.parallel.world import World
from .runtime.program import Program
from .runtime.trainer import QatTrainer, Trainer
from .runtime.weights import initial_weights

Setting = TypeVar("Setting", Loss, Optimizer)
QAT = ("moving", "learned")
"""What ranges of activations can do in quantization-aware training."""


def compile_training(
    source: Source,
    *,
    weights: Weights = None,
    batch: int = 128,
    threads: int | None = None,
    cpu: str | None = None,
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
    rates: Rates | None = None,
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

    `source`, `weights`, `batch`, `threads`, `cpu`, `net`, `settings` and `seed` are those of `netc.compile`; the others
    those of `netc.compiler.training.training_step`. `label_smoothing` and `weight_decay` replace the options of the
    loss and the optimiser. A graph given as source has the batch it was made for.

    `freeze` and `skip` hold patterns of parameters' names, such as `features.*`. What `freeze` matches stays to the
    bit, running statistics included. What `skip` matches is not taken from `weights` but drawn by `seed`, such as a
    head for other classes. `rates` holds learning rates by pattern, such as `{"features.*": 0.001}`, in place of the
    optimiser's `lr`; of several patterns that match a name, the last counts.

    Two settings exchange work for memory; losses and weights stay the same bit for bit. `recompute`: cheap activations
    are made again where the backward part needs them. `checkpoint_every`: activations are kept at the end of every so
    many layers or residual blocks only, and those between run again (0 chooses the places); see the pass checkpoint.

    `qat` trains with fake quantization, for the network of 8-bit integers that `netc.quantize` makes of the weights and
    ranges afterwards: from `ranges` (or a file of them) that were calibrated, which move with the batches' ("moving")
    or are trained like weights ("learned"). Batch normalisation keeps its running statistics, nothing is dropped, and
    weight decay leaves biases and ranges alone. The result is a `QatTrainer`.

    Raises `NetcError` for what the caller can cure.
    """
    request = TrainingRequest(
        source,
        net,
        batch,
        settings or {},
        threads,
        cpu,
        weights=weights,
        seed=seed,
        skip=skip,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        label_smoothing=label_smoothing,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        accumulate=accumulate,
        ema=ema,
        freeze=freeze,
        rates=rates or {},
        recompute=recompute,
        checkpoint_every=checkpoint_every,
        qat=qat,
        ranges=ranges,
    )
    return load_trainer(request)


@dataclass(frozen=True, slots=True)
class TrainingRequest(Request):
    """What to train, and how: the arguments of `compile_training` beside those that every request has."""

    skip: str | Sequence[str] = ()
    loss: str | Loss = "softmax_cross_entropy"
    optimizer: str | Optimizer = "sgd(lr=0.01, momentum=0.9)"
    schedule: str | Schedule = "constant"
    steps_per_epoch: float | None = None
    label_smoothing: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    freeze: str | Sequence[str] = ()
    rates: Rates = field(default_factory=dict[str, float])
    recompute: bool = True
    checkpoint_every: int | None = None
    qat: str | None = None
    ranges: Ranges | str | os.PathLike[str] | None = None
    sharded: bool = False
    """Whether a batch of one shard is trained on as those of several are, for a world of several ranks."""
    shards: int = 1
    """Of how many parts a batch is made; `batch` and a graph given as source are those of one."""
    bucket: int = BUCKET_BYTES
    """Bytes of results, at least, that several ranks begin to add while the others are computed."""
    announces: bool = False
    """Whether there are, or shall seem to be, several ranks."""
    factors: bool = True
    """Whether shards may give factors of a gradient in its place; see `sharded_step`."""

    def begin(self) -> TrainingCompilation:
        """Before the first stage."""
        return TrainingCompilation(self)

    def resolved_loss(self, network: Graph) -> Loss:
        """The loss that is meant."""
        loss = find_loss(self.loss, self.source, network) if isinstance(self.loss, str) else self.loss
        return _with_option(loss, "label_smoothing", self.label_smoothing)

    def resolved_optimizer(self) -> Optimizer:
        """The optimiser that is meant."""
        optimizer = parse_optimizer(self.optimizer) if isinstance(self.optimizer, str) else self.optimizer
        return _with_option(optimizer, "weight_decay", self.weight_decay)

    def resolved_ranges(self) -> Ranges | None:
        """The ranges to start quantization-aware training from; None for other training."""
        if self.qat is None:
            return None
        if self.qat not in QAT:
            raise NetcError(f"in quantization-aware training ranges are {' or '.join(QAT)}, not {self.qat!r}")
        if self.ranges is None:
            hint = "netc.calibrate(...).calibration.ranges() finds them"
            raise NetcError("quantization-aware training starts from calibrated ranges", hint=hint)
        return self.ranges if isinstance(self.ranges, Ranges) else Ranges.read(os.fspath(self.ranges))


class TrainingCompilation(Compilation):
    """What stands at the end of each stage on a training step's way: `graph` is the step."""

    request: TrainingRequest
    start: Ranges | None
    """For quantization-aware training, the ranges to start from."""
    fake: FakeQuantized | None
    """For quantization-aware training, the network that is trained."""
    prepare: Graph | None = None
    """For batches in shards, what is done before them."""
    step: Graph
    """The graph that has all state: `graph`, or for batches in shards what is done with the sum over all shards."""

    run_name = "a step"
    less_memory = "train with a smaller batch, or keep activations at checkpoints only"
    is_tunable = False

    def read(self) -> None:
        """The first stage: the graph of a step."""
        r = self.request
        self.network, own = load_to_train(
            r.source, net=r.net, batch=r.batch, settings=r.settings, preprocess=r.preprocess
        )
        self._has_none = r.weights is None and own is None
        self.start = r.resolved_ranges()
        self._given = find_weights(own if r.weights is None else r.weights, self.network, r.seed, skip=r.skip)
        self.fake = fake_quantize(self.network, learned=r.qat == "learned") if self.start is not None else None
        network = self.fake.graph if self.fake is not None else self.network
        if r.shards == 1 and not r.sharded:
            self.graph = self.step = training_step(network, **self._settings())
        else:
            bucket = r.bucket if r.announces else None
            sharded = sharded_step(network, r.shards, bucket=bucket, factors=r.factors, **self._settings())
            self.graph, self.step, self.prepare = sharded.shard, sharded.update, sharded.prepare

    def _settings(self) -> dict[str, Any]:
        """The arguments of `training_step`."""
        r = self.request
        return {
            "loss": r.resolved_loss(self.network),
            "optimizer": r.resolved_optimizer(),
            "schedule": r.schedule,
            "steps_per_epoch": r.steps_per_epoch,
            "clip_norm": r.clip_norm,
            "accumulate": r.accumulate,
            "ema": r.ema,
            "decay": "all" if self.fake is None else "weights",
            "freeze": r.freeze,
            "rates": r.rates,
            "seed": r.seed,
        }

    @property
    def is_drawn(self) -> bool:
        """True if the weights are none that anything gives, but drawn by the seed."""
        return self._has_none and bool(self.network.weights)

    def pipeline(self) -> str:
        """The passes that the step goes through."""
        r = self.request
        return r.pipeline or passes.pipelines.training(_memory_pass(r.recompute, r.checkpoint_every))

    def parameters(self) -> Mapping[str, Array]:
        """Values for the network's parameters, and for what the optimiser remembers."""
        values = {**initial_weights(self.step, self.request.seed), **self._given}
        return values if self.fake is None or self.start is None else {**values, **self.fake.values(self.start)}


def load_trainer(request: TrainingRequest, built: Callable[[TrainingCompilation], None] | None = None) -> Trainer:
    """Build a training step and load it into this process; `built` is shown what became of each stage."""
    c = build(request, PROGRAM)
    if built is not None:
        built(c)
    parameters = c.parameters()
    parts = (c.network, c.graph, load_program(c, parameters), parameters, request.seed)
    return Trainer(*parts) if c.fake is None or c.start is None else QatTrainer(c.fake, c.start.samples, *parts)


def load_sharded_trainer(
    request: TrainingRequest, net: Graph, world: World, built: Callable[[TrainingCompilation], None] | None = None
) -> ShardedTrainer:
    """As `load_trainer`, for batches in shards, which the ranks of a world share; `net` takes a whole batch."""
    announces = request.announces or (world.size > 1 and world.threaded)
    c = build(replace(request, sharded=True, announces=announces), PROGRAM)
    if built is not None:
        built(c)

    def built_of(graph: Graph) -> Compilation:
        return build(Request(graph, threads=request.threads, cpu=request.cpu, pipeline=c.pipeline()), PROGRAM)

    parameters = c.parameters()
    program = load_program(built_of(c.step), parameters)

    def sharing(made: Compilation) -> Program:
        return Program(made.module, made.object.code, made.target, made.threads, parameters, shares=program)

    prepare = sharing(built_of(c.prepare)) if c.prepare is not None else None
    kind = LeadingTrainer if world.size > 1 and world.rank == 0 else ShardedTrainer
    parts = (net, c.step, program, sharing(c), parameters, request.seed)
    return kind(*parts, shards=request.shards, prepare=prepare, world=world)


def _memory_pass(recompute: bool, checkpoint_every: int | None) -> str:
    """The pass that exchanges work for memory."""
    if checkpoint_every is None:
        return "recompute" if recompute else ""
    if checkpoint_every < 0:
        raise NetcError(f"checkpoint_every is a number of layers or blocks, not {checkpoint_every}")
    return str(passes.Checkpoint(every=checkpoint_every))


def _with_option(setting: Setting, name: str, value: float | None) -> Setting:
    """A loss or optimiser with one option replaced, if a value is given."""
    if value is None:
        return setting
    if not hasattr(setting, name):
        raise NetcError(f"{type(setting).__name__.lower()} has no option `{name}`")
    return replace(setting, **{name: value})
