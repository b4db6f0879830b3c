"""What `netc train` does with a net, its data and its recipe: everything that is known before the loop starts."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

import netc

from . import qat
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.graph.printer import print_graph
from .compiler.quantization import Ranges
from .compiler.training import GraphLoss
from .losses import find_loss
from .picture import class_labels
from .pipeline import Request, build, load, load_program
from .recipe import TrainingRecipe
from .runtime.evaluate import Evaluation
from .runtime.host import available_cores
from .runtime.program import Program
from .runtime.trainer import QatTrainer, Trainer
from .runtime.training.augment import NO_AUGMENTATION, parse_augmentation
from .runtime.training.batches import ArrayMaker, BatchStream, FileMaker, Maker, Plan
from .runtime.training.loop import Evaluate, Scores
from .runtime.training.opening import open_source
from .runtime.training.run import Run
from .runtime.training.samples import Preparation, preparation_for
from .runtime.training.scoring import score
from .runtime.training.sources import ArraySource, Source
from .runtime.training.workers import WorkerMaker

IDENTITY = ("model", "net", "settings", "size", "weights")
"""Of the set-up, what must stay the same throughout a run."""
COSTS = ("threads", "checkpoint_every")
"""Of the set-up, what may change."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained and where it starts."""

    model: str
    net: str | None
    settings: Mapping[str, object]
    size: int | None
    weights: str | None
    threads: int | None
    checkpoint_every: int | None

    def load(self, batch: int) -> Graph:
        """The net; `size` is a hyperparameter of it, or what it takes anyway."""
        if self.size is None:
            return load(self.model, net=self.net, batch=batch, settings=self.settings)
        try:
            return load(self.model, net=self.net, batch=batch, settings={**self.settings, "size": self.size})
        except NetcError:
            graph = load(self.model, net=self.net, batch=batch, settings=self.settings)
        if graph.inputs[0].type.shape[1:3] != (self.size, self.size):
            shape = graph.inputs[0].type
            raise NetcError(f"net {graph.name} takes {shape} and has no hyperparameter `size`", hint="leave --size out")
        return graph

    def resumed(self, recipe: Mapping[str, Any]) -> Setup:
        """The set-up that a run keeps. What is given now must not differ from it, costs of time and memory aside."""
        kept = {name: recipe.get(name) for name in (*IDENTITY, *COSTS)}
        for name in IDENTITY:
            given = getattr(self, name)
            if given and given != kept[name]:
                hint = "leave it out, or start a new run"
                raise NetcError(f"this run was started with {name} = {kept[name]}, not {given}", hint=hint)
        given = {name: value for name in COSTS if (value := getattr(self, name)) is not None}
        return Setup(**kept | given)


@dataclass(frozen=True, slots=True)
class Job:
    """A net with its data, ready to be compiled."""

    setup: Setup
    recipe: TrainingRecipe
    graph: Graph
    train: Source
    test: Source
    train_preparation: Preparation
    test_preparation: Preparation
    workers: int
    threads: int

    @staticmethod
    def prepare(setup: Setup, recipe: TrainingRecipe, data_dir: str | None, workers: int) -> Job:
        """Load the net and open the data, so that everything that doesn't fit is known before the long work."""
        graph = setup.load(recipe.batch)
        train, test = (open_source(recipe.data, split, data_dir) for split in ("train", "test"))
        augmentation = parse_augmentation(recipe.augment)
        preparations = (
            preparation_for(graph, train, augmentation, recipe.seed),
            preparation_for(graph, test, NO_AUGMENTATION),
        )
        threads = setup.threads or available_cores()
        if recipe.qat is not None and setup.weights is None:
            hint = "give --weights, for example best.safetensors of an earlier run"
            raise NetcError("quantization-aware training goes on from trained weights", hint=hint)
        return Job(setup, recipe, graph, train, test, *preparations, workers, threads)

    @property
    def fingerprint(self) -> str:
        """Hash of the network, and of the loss where that is a block of the user's."""
        loss = find_loss(self.recipe.loss, self.setup.model, self.graph)
        graphs = (self.graph, loss.graph) if isinstance(loss, GraphLoss) else (self.graph,)
        return hashlib.sha256("".join(print_graph(g, locations=False) for g in graphs).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The resolved recipe, as the run keeps it."""
        setup = {name: getattr(self.setup, name) for name in IDENTITY}
        costs = {"threads": self.threads, "checkpoint_every": self.setup.checkpoint_every}
        return {**setup, **costs, "network": self.fingerprint, **self.recipe.as_json()}

    def maker(self, source: Source, preparation: Preparation) -> Maker:
        """Who makes batches of a source."""
        if isinstance(source, ArraySource):
            return ArrayMaker(source, preparation)
        if self.workers == 0:
            return FileMaker(source, preparation)
        return WorkerMaker(source, preparation, self.recipe.batch, self.workers)

    def stream(self) -> BatchStream:
        """The training data."""
        maker = self.maker(self.train, self.train_preparation)
        return BatchStream(len(self.train), self.recipe.batch, maker, self.recipe.seed, self.train.name)

    def ranges(self) -> Ranges | None:
        """For quantization-aware training, the ranges of activations to start from."""
        if self.recipe.qat is None or self.setup.weights is None:
            return None
        batch = self.recipe.batch
        count = max(1, -(-qat.SAMPLES // batch)) * batch
        samples = np.arange(count, dtype=np.int64) * len(self.train) // count
        plans = [Plan(0, i, part) for i, part in enumerate(samples.reshape(-1, batch))]
        preparation = preparation_for(self.graph, self.train, NO_AUGMENTATION)
        with closing(self.maker(self.train, preparation)) as maker:
            batches = (made.images for made in maker.make(plans))
            return qat.calibrated_ranges(self.graph, batches, self.setup.weights, self.recipe.qat, self.threads)

    def trainer(self, steps_per_epoch: int) -> Trainer:
        """Compile the training step."""
        recipe = self.recipe
        compile_training = cast(Callable[..., Trainer], netc.compile_training)
        return compile_training(
            self.graph,
            weights=self.setup.weights,
            batch=recipe.batch,
            threads=self.threads,
            loss=find_loss(recipe.loss, self.setup.model, self.graph),
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            steps_per_epoch=steps_per_epoch,
            label_smoothing=recipe.label_smoothing,
            weight_decay=recipe.weight_decay,
            clip_norm=recipe.clip_norm,
            accumulate=recipe.accumulate,
            ema=recipe.ema,
            seed=recipe.seed,
            checkpoint_every=self.setup.checkpoint_every,
            **({} if recipe.qat is None else {"qat": recipe.qat, "ranges": self.ranges()}),
        )

    def evaluation(self, trainer: Trainer) -> Evaluate:
        """Accuracy on the test split, measured with the net compiled for inference."""
        graph = trainer.fake.graph if isinstance(trainer, QatTrainer) else self.graph
        compilation = build(Request(graph, threads=self.threads))

        def evaluate() -> Scores:
            with tempfile.TemporaryDirectory(prefix="netc-") as folder:
                file = Path(folder) / "weights.safetensors"
                trainer.save(file, averaged=self.recipe.ema is not None)
                weights = qat.fake_parameters(trainer, file) if isinstance(trainer, QatTrainer) else str(file)
                with load_program(compilation, weights) as program:
                    result = self.score(program)
            top5 = {"top5": result.top5} if self.test.classes > 10 else {}
            return Scores({"accuracy": result.top1, **top5}, result.skipped)

        return evaluate

    def score(self, program: Program) -> Evaluation:
        """How a program does on the test split."""
        return score(program, self.test, self.maker(self.test, self.test_preparation), self.recipe.batch)

    def finish(self, run: Run, best: Mapping[str, float]) -> qat.Outcome | None:
        """After quantization-aware training, make the network of integers; how it does goes to the metrics, too."""
        if self.recipe.qat is None or self.setup.weights is None:
            return None
        outcome = qat.finish(
            self.graph,
            self.setup.load(1),
            start=self.setup.weights,
            best=run.best,
            labels=class_labels(self.graph, self.setup.model).names,
            fake_accuracy=best["accuracy"],
            accuracy=lambda program: self.score(program).top1,
            threads=self.threads,
        )
        run.log({"kind": "quantized", **outcome.accuracies()})
        return outcome
