"""One training step as one graph: forward, loss, gradients, update; no side effects.

The step's graph takes the net's inputs and `labels`. Everything that lasts is a `param`. The first outputs are the
metrics that the attribute `metrics` names, the others the next values of the parameters that the attribute `updates`
names, in that order. The attribute `classes` says how many classes labels number, where they do, and `ignored` which
label doesn't count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from types import MappingProxyType
from typing import Literal

import numpy as np

from ..errors import NetcError
from ..graph.builder import GraphBuilder, Rewriter
from ..graph.ir import Graph, Value
from ..graph.state import refuse_state
from ..passes.dce import dce
from ..passes.differentiate import differentiate
from ..passes.unroll_scans import unroll_scans
from ..patterns import matching
from ..types import DType, TensorType
from .formula import Formula
from .losses import Loss, parse_loss
from .mode import TrainingMode
from .optimizers import Optimizer, parse_optimizer
from .rates import Rates, rates_of
from .schedules import Schedule, parse_schedule
from .state import TrainingState

Gradients = Mapping[str, Value]
"""The gradient of the loss for each trained parameter, by the parameter's name."""


@dataclass(frozen=True)
class Shared:
    """What a batch gives and all that is done with it needs, each by name."""

    metrics: Mapping[str, Value]
    statistics: Mapping[str, Value]
    """The next values of running statistics."""
    gradients: Gradients


Exchange = Callable[[GraphBuilder, Shared], Shared]
"""Emits what makes of the values of one machine, or of one shard of a batch, those of all of them."""

COUNT = TensorType(DType.I64, ())
SHARD = "shard"
"""The input that says which part of a batch a step is for."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; see `training_step`."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    steps_per_epoch: float | None
    clip_norm: float | None
    accumulate: int
    ema: float | None
    decay: Literal["all", "weights"]
    rates: Rates
    seed: int
    exchange: Exchange

    def __post_init__(self) -> None:
        known = self.steps_per_epoch is not None
        _require(known or not self.schedule.counts_epochs, f"`{self.schedule}` needs to know steps_per_epoch")
        _require(self.steps_per_epoch is None or self.steps_per_epoch > 0, "steps_per_epoch must be positive")
        _require(self.accumulate >= 1, "accumulate must be at least 1")
        _require(self.clip_norm is None or self.clip_norm > 0, "clip_norm must be positive")
        _require(self.ema is None or 0 <= self.ema < 1, "ema must lie in 0 <= ema < 1")
        _require(self.decay in ("all", "weights"), f"decay is `all` or `weights`, not `{self.decay}`")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise NetcError(message)


def on_one_machine(b: GraphBuilder, shared: Shared) -> Shared:
    """The exchange of a machine that trains alone: nothing."""
    return shared


def training_step(
    graph: Graph,
    *,
    loss: str | Loss,
    optimizer: str | Optimizer,
    schedule: str | Schedule = "constant",
    steps_per_epoch: float | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    decay: Literal["all", "weights"] = "all",
    freeze: str | Sequence[str] = (),
    rates: Rates = MappingProxyType({}),
    seed: int = 0,
    exchange: Exchange = on_one_machine,
    shards: int = 1,
) -> Graph:
    """The graph of one training step of a net that has one output, the prediction.

    Loss, optimizer and schedule are as text or as objects. `steps_per_epoch` counts calls; all schedules but the
    constant one need it.

    - `clip_norm`: gradients are scaled so that the norm of all of them together is at most this.
    - `accumulate`: only every so many calls the parameters move, by the mean of the gradients since the last time.
      Running statistics move in each call.
    - `ema`: keep a moving average `ema.NAME` of each weight and running statistic: average = d * average +
      (1 - d) * new with d = min(ema, (1 + updates) / (10 + updates)). It starts at the value of the first call.
    - `decay`: weight decay applies to all parameters, as in PyTorch, or to those of rank 2 and more ("weights").
    - `freeze`: patterns of names (`features.*`) of parameters that stay to the bit, running statistics among them; a
      batch_norm whose statistics are frozen normalises by them, as in inference.
    - `rates`: learning rates by pattern of names, in place of the optimizer's `lr`; the schedule multiplies them,
      too. Of several patterns that match, the last counts.
    - `seed`: of dropout.
    - `exchange` stands between what this machine's batch gives (gradients, metrics, statistics) and all that is done
      with it; this is where several machines sum theirs.
    - `shards`: the net's batch is one of so many parts of a batch, and the input `shard` (i64, from 0 on) says which if
      the net drops something: each part drops by other random numbers. See `sharded.sharded_step`.

    A parameter that the loss doesn't reach, say behind stop_gradient, stays as it is: it has no gradient, doesn't decay
    and has no slots.

    Parameters added: `optimizer.SLOT.NAME`; `optimizer.step`, the number of updates done (i64); with `accumulate`,
    `optimizer.micro_step`, the number of batches since the last update (i64), and `optimizer.gradient.NAME`, what their
    gradients add up to (without batches, that of the last update); `ema.NAME`. They are not trainable and start as
    their `init` says. Metrics: loss, correct (number of right predictions, if the loss has such) and counted (how many
    labels that is a part of, where it isn't all), learning_rate, and gradient_norm (before clipping) with `clip_norm`;
    scalars of the prediction's element type.
    Raises `NetcError` for settings and nets that can't be trained.
    """
    recipe = Recipe(
        loss=parse_loss(loss) if isinstance(loss, str) else loss,
        optimizer=parse_optimizer(optimizer) if isinstance(optimizer, str) else optimizer,
        schedule=parse_schedule(schedule) if isinstance(schedule, str) else schedule,
        steps_per_epoch=steps_per_epoch,
        clip_norm=clip_norm,
        accumulate=accumulate,
        ema=ema,
        decay=decay,
        rates=rates,
        seed=seed,
        exchange=exchange,
    )
    _require(shards >= 1, "shards must be at least 1")
    graph = dce(graph)
    frozen = matching(freeze, [op.result.name or "" for op in graph.parameters])
    forward = _forward(graph, recipe.loss, recipe.seed, recipe.accumulate, frozen, shards)
    trainable = [op.result.name or "" for op in forward.graph.parameters if op.attributes["trainable"]]
    _require(bool(trainable), f"@{graph.name} has no trainable parameters")
    trained = [name for name in trainable if name not in frozen]
    _require(bool(trained), f"@{graph.name} has no trainable parameters but the frozen ones")
    differentiated = differentiate(forward.graph, of=0, wrt=trained)
    return _Update(differentiated, forward, recipe, trained).graph()


def loss_graph(graph: Graph, *, loss: str | Loss, seed: int = 0) -> Graph:
    """The graph of a net in training mode with its loss: what `differentiate` takes.

    Inputs are the net's and `labels`, outputs the metrics that the attribute `metrics` names: loss, and correct where
    the loss has such. Running statistics stay as they are.
    """
    forward = _forward(dce(graph), parse_loss(loss) if isinstance(loss, str) else loss, seed, 1)
    attributes = MappingProxyType({**graph.attributes, "metrics": forward.metrics})
    outputs = forward.graph.outputs[: len(forward.metrics)]
    return dce(replace(forward.graph, outputs=outputs, attributes=attributes))


@dataclass(frozen=True)
class _Forward:
    """The net in training mode with its loss. Outputs: metrics, then next values of running statistics."""

    graph: Graph
    metrics: tuple[str, ...]
    statistics: tuple[str, ...]
    classes: int | None
    """How many classes labels number."""
    ignored: int | None
    """The label that doesn't count."""


def _forward(
    graph: Graph, loss: Loss, seed: int, accumulate: int, frozen: frozenset[str] = frozenset(), shards: int = 1
) -> _Forward:
    refuse_state(graph, "it can't be trained")
    if len(graph.outputs) != 1:
        raise NetcError(f"@{graph.name} has {len(graph.outputs)} outputs; a net that is trained has one")
    _require(all(v.name != "labels" for v in graph.inputs), "an input is called `labels`, which is what a loss takes")
    b = Rewriter(unroll_scans(graph))
    mode = TrainingMode(b, seed, lambda: _counter(b, accumulate, shards).value, frozen)
    mode.copy()
    prediction = Formula(b, b[b.graph.outputs[0]])
    labels = Formula(b, b.input("labels", loss.labels(prediction.type)))
    metrics = {"loss": loss.value(prediction, labels)}
    correct = loss.correct(prediction, labels)
    if correct is not None:
        metrics["correct"] = correct
        if (counted := loss.counted(prediction, labels)) is not None:
            metrics["counted"] = counted
    outputs = [*(m.value for m in metrics.values()), *mode.statistics.values()]
    statistics = tuple(mode.statistics)
    return _Forward(b.finish(outputs), tuple(metrics), statistics, loss.classes(prediction.type), loss.ignored)


def _call_number(state: TrainingState, accumulate: int) -> Formula:
    """How many calls came before, an i64 scalar."""
    step = state.param("optimizer.step", COUNT)
    if accumulate == 1:
        return step
    return step * accumulate + state.param("optimizer.micro_step", COUNT)


def _counter(b: GraphBuilder, accumulate: int, shards: int) -> Formula:
    """How many calls and shards came before, an i64 scalar."""
    calls = _call_number(TrainingState(b), accumulate)
    if shards == 1:
        return calls
    shard = next((v for v in b.inputs if v.name == SHARD), None) or b.input(SHARD, COUNT)
    return calls * shards + Formula(b, shard)


def _noughts(b: GraphBuilder) -> set[Value]:
    """Constants of zeros: differentiation leaves one in place of a gradient where the loss doesn't reach."""
    return {op.result for op in b.operations if op.name == "constant" and not np.any(op.attributes["value"])}


class _Update:
    """Adds to a graph of gradients what is done with them."""

    def __init__(self, graph: Graph, forward: _Forward, recipe: Recipe, trained: list[str]) -> None:
        self.recipe = recipe
        self.source = graph
        self.b = Rewriter(graph)
        for op in graph.operations:
            self.b.copy(op)
        values = [Formula(self.b, self.b[v]) for v in graph.outputs]
        places = iter(values)
        self.metrics = {name: next(places) for name in forward.metrics}
        self.statistics = {name: next(places) for name in forward.statistics}
        gradients = {name: next(places).value for name in trained}
        noughts = _noughts(self.b)
        self.gradients = {name: value for name, value in gradients.items() if value not in noughts}
        _require(bool(self.gradients), f"the loss depends on no trainable parameter of @{graph.name}")
        self.classes, self.ignored = forward.classes, forward.ignored
        self.state = TrainingState(self.b)
        self.weights = {name: Formula(self.b, self.state.parameters[name]) for name in self.gradients}
        self.step = self.state.param("optimizer.step", COUNT)
        self.updates = self.step.cast(DType.F64)
        self.rates = rates_of(recipe.rates, trained, recipe.optimizer.lr)
        self.due: Formula | None = None

    def graph(self) -> Graph:
        """The whole step."""
        gradients = self._exchange()
        factor = self._factor()
        if self.recipe.accumulate > 1:
            gradients = self._accumulate(gradients)
        if self.recipe.clip_norm is not None:
            gradients = self._clip(gradients, self.recipe.clip_norm)
        for name, statistic in self.statistics.items():
            self.state.replace(name, statistic)
        self._optimize(gradients, factor)
        if self.recipe.ema is not None:
            self._average(self.recipe.ema)
        self.state.replace("optimizer.step", self.step + 1, self.due)
        outputs = [*(m.value for m in self.metrics.values()), *self.state.updates.values()]
        self.b.attributes["metrics"] = tuple(self.metrics)
        self.b.attributes["updates"] = tuple(self.state.updates)
        if self.classes is not None:
            self.b.attributes["classes"] = self.classes
        if self.ignored is not None:
            self.b.attributes["ignored"] = self.ignored
        return dce(self.b.finish(outputs))

    def _exchange(self) -> dict[str, Formula]:
        """The gradients after the exchange, which changes metrics and statistics, too."""
        metrics, statistics = ({n: f.value for n, f in g.items()} for g in (self.metrics, self.statistics))
        shared = self.recipe.exchange(self.b, Shared(metrics, statistics, self.gradients))
        self.metrics = self._formulas(shared.metrics)
        self.statistics = self._formulas(shared.statistics)
        return self._formulas(shared.gradients)

    def _formulas(self, values: Mapping[str, Value]) -> dict[str, Formula]:
        return {name: Formula(self.b, value) for name, value in values.items()}

    def _accumulate(self, gradients: Mapping[str, Formula]) -> dict[str, Formula]:
        """Add the gradients to those since the last update; `due` says whether it is time for the next."""
        count = self.recipe.accumulate
        micro_step = self.state.param("optimizer.micro_step", COUNT)
        self.due = micro_step.apply("equal", count - 1)
        self.state.replace("optimizer.micro_step", self.due.where(micro_step.number(0), micro_step + 1))
        started = micro_step.greater(0)
        totals: dict[str, Formula] = {}
        for name, gradient in gradients.items():
            slot = f"optimizer.gradient.{name}"
            earlier = self.state.param(slot, gradient.type.dense())
            totals[name] = started.where(earlier, gradient.number(0)) + gradient * (1 / count)
            self.state.replace(slot, totals[name])
        return totals

    def _clip(self, gradients: Mapping[str, Formula], limit: float) -> dict[str, Formula]:
        """Scale the gradients to a norm of at most `limit`; the 1e-6 is PyTorch's."""
        squares = [(g * g).sum() for g in gradients.values()]
        norm = reduce(Formula.__add__, squares).sqrt()
        self.metrics["gradient_norm"] = norm
        scale = (limit / (norm + 1e-6)).minimum(1)
        return {name: g * scale for name, g in gradients.items()}

    def _factor(self) -> Formula:
        """What this update multiplies all learning rates by, in f64."""
        per_epoch = (self.recipe.steps_per_epoch or 1) / self.recipe.accumulate
        factor = self.recipe.schedule.factor(self.updates, per_epoch)
        rate = factor * self.recipe.optimizer.lr
        self.metrics["learning_rate"] = rate.cast(self.metrics["loss"].type.dtype)
        return factor

    def _optimize(self, gradients: Mapping[str, Formula], factor: Formula) -> None:
        """Apply the optimiser to every trained parameter."""
        optimizer = self.recipe.optimizer
        rates = dict.fromkeys(self.rates[name] for name in self.weights)
        scalars = {rate: optimizer.scalars(factor * rate, self.updates) for rate in rates}
        typed = {
            (rate, dtype): {name: scalar.cast(dtype) for name, scalar in each.items()}
            for rate, each in scalars.items()
            for dtype in dict.fromkeys(w.type.dtype for w in self.weights.values())
        }
        for name, weight in self.weights.items():
            slots = {
                slot: self.state.param(f"optimizer.{slot}.{name}", weight.type.dense(), init)
                for slot, init in optimizer.slots.items()
            }
            decayed = self.recipe.decay == "all" or weight.type.rank >= 2
            decay = optimizer.weight_decay if decayed else 0.0
            shared = typed[self.rates[name], weight.type.dtype]
            new, new_slots = optimizer.update(weight, gradients[name], slots, shared, decay)
            self.state.replace(name, new, self.due)
            for slot, value in new_slots.items():
                self.state.replace(f"optimizer.{slot}.{name}", value, self.due)

    def _average(self, decay: float) -> None:
        """Move the averages of weights and running statistics towards their new values."""
        factor = ((self.updates + 1) / (self.updates + 10)).minimum(decay)
        started = self.updates.greater(0)
        for name in (*self.weights, *self.statistics):
            old, new = (Formula(self.b, v) for v in (self.state.parameters[name], self.state.updates[name]))
            average = started.where(self.state.param(f"ema.{name}", old.type.dense()), old)
            keep = factor.cast(old.type.dtype)
            self.state.replace(f"ema.{name}", average * keep + new * (1 - keep), self.due)
