"""What a command that trains is given: the net, where it starts, what may be spent; and the recipe as a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.training import Loss, Optimizer, parse_optimizer, parse_rates
from .loading import Weights, load_to_train
from .recipe import TrainingRecipe
from .runtime.parallel.model import BUCKET_BYTES
from .training import TrainingRequest

IDENTITY = ("model", "net", "settings", "size", "preprocess", "weights", "skip")
"""Of the set-up, what must stay the same throughout a run."""
COSTS = ("threads", "cpu", "checkpoint_every", "bucket")
"""Of the set-up, what may change."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained and where it starts."""

    model: str
    net: str | None
    settings: Mapping[str, object]
    size: int | None
    preprocess: Mapping[str, object]
    weights: str | None
    skip: tuple[str, ...]
    """Patterns of what is not taken from the weights."""
    threads: int | None
    cpu: str | None
    checkpoint_every: int | None
    bucket: float | None = None
    """Megabytes of gradients, at least, that ranks add while the others are computed."""

    def load(self, batch: int) -> tuple[Graph, Weights]:
        """The net, and where it starts: weights that are given, or those of its file, if it holds some.

        `size` is a hyperparameter of it, or what it takes anyway.
        """
        graph, own = self._load(batch)
        return graph, own if self.weights is None else self.weights

    def _load(self, batch: int) -> tuple[Graph, Weights]:
        given: dict[str, Any] = {"net": self.net, "batch": batch, "preprocess": self.preprocess}
        if self.size is None:
            return load_to_train(self.model, settings=self.settings, **given)
        try:
            return load_to_train(self.model, settings={**self.settings, "size": self.size}, **given)
        except NetcError:
            graph, own = load_to_train(self.model, settings=self.settings, **given)
        if graph.inputs[0].type.shape[1:3] != (self.size, self.size):
            shape = graph.inputs[0].type
            raise NetcError(f"net {graph.name} takes {shape} and has no hyperparameter `size`", hint="leave --size out")
        return graph, own

    def resumed(self, recipe: Mapping[str, Any]) -> Setup:
        """The set-up that a run keeps. What is given now must not differ from it, costs of time and memory aside."""
        kept = {name: recipe.get(name) for name in (*IDENTITY, *COSTS)}
        kept["skip"] = tuple(kept["skip"] or ())
        kept["preprocess"] = kept["preprocess"] or {}
        for name in IDENTITY:
            given = getattr(self, name)
            if given and given != kept[name]:
                hint = "leave it out, or start a new run"
                raise NetcError(f"this run was started with {name} = {kept[name]}, not {given}", hint=hint)
        given = {name: value for name in COSTS if (value := getattr(self, name)) is not None}
        return Setup(**kept | given)

    def request(self, recipe: TrainingRecipe, shard: Graph, loss: Loss, steps_per_epoch: int) -> TrainingRequest:
        """What a recipe's training step is built from, with weights that are drawn; `shard` is the net for a shard."""
        rates, factor = parse_rates(recipe.lr), recipe.rate_factor
        optimizer: str | Optimizer = recipe.optimizer
        if factor != 1:
            meant = parse_optimizer(recipe.optimizer)
            optimizer = replace(meant, lr=meant.lr * factor)
            rates = {name: rate * factor for name, rate in rates.items()}
        return TrainingRequest(
            shard,
            batch=recipe.batch // recipe.shards,
            shards=recipe.shards,
            threads=self.threads,
            cpu=self.cpu,
            seed=recipe.seed,
            loss=loss,
            optimizer=optimizer,
            schedule=recipe.schedule,
            steps_per_epoch=steps_per_epoch,
            label_smoothing=recipe.label_smoothing,
            weight_decay=recipe.weight_decay,
            clip_norm=recipe.clip_norm,
            accumulate=recipe.accumulate,
            ema=recipe.ema,
            freeze=recipe.freeze,
            rates=rates,
            checkpoint_every=self.checkpoint_every,
            bucket=BUCKET_BYTES if self.bucket is None else int(self.bucket * 1e6),
            qat=recipe.qat,
        )
