"""What `netc train` does with a net, its data and its recipe: everything that is known before the loop starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import qat
from .classes import usable_labels
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.graph.printer import print_graph
from .compiler.passes import Observer
from .compiler.quantization import Ranges
from .compiler.training import GraphLoss, Loss
from .frontend import FORMATS, format_of
from .loading import Weights, find_weights
from .losses import find_loss
from .pipeline import target_of
from .recipe import TrainingRecipe
from .runtime.data.labels import CLASSES, Labels
from .runtime.data.layout import as_input
from .runtime.data.registry import open_source
from .runtime.data.source import ArraySource, FileSource, Source
from .runtime.data.targets import TargetFacts, ignoring
from .runtime.evaluation.accuracy import Evaluation
from .runtime.evaluation.measures import Measured
from .runtime.evaluation.scoring import measure
from .runtime.parallel.tree import row_of
from .runtime.parallel.world import ALONE, World
from .runtime.program import Program
from .runtime.trainer import Trainer
from .runtime.training.augment import NO_AUGMENTATION, parse_augmentation
from .runtime.training.batches import ArrayMaker, BatchStream, FileMaker, Maker, Plan
from .runtime.training.run import Run
from .runtime.training.samples import Preparation, preparation_for
from .runtime.training.workers import WorkerMaker
from .training import TrainingCompilation, TrainingRequest, load_sharded_trainer, load_trainer
from .training_checks import check_alike, check_ranks, check_shards, check_start
from .training_setup import COSTS, IDENTITY, Setup

_AHEAD = 3
"""Batches that workers decode in advance."""
_SHOWN = 10
"""How many classes a message lists."""


@dataclass(frozen=True, slots=True)
class Job:
    """A net with its data, ready to be compiled."""

    setup: Setup
    said: TrainingRecipe
    """As it was given."""
    recipe: TrainingRecipe
    """As steps are made: batches that are accumulated may be shards of one."""
    graph: Graph
    """The net for a whole batch as it was given."""
    start: Weights
    """Weights to start from."""
    shard: Graph
    """The net for one shard of a batch; the same where a given batch has only one."""
    train: Source
    test: Source
    train_preparation: Preparation
    test_preparation: Preparation
    loss: Loss
    """Of a whole batch as it was given."""
    shard_loss: Loss
    labels: Labels
    """What the net calls its classes."""
    workers: int
    threads: int
    world: World
    """The ranks that share the work."""

    @staticmethod
    def prepare(setup: Setup, recipe: TrainingRecipe, data_dir: str | None, workers: int, world: World = ALONE) -> Job:
        """Load the net and open the data, so that everything that doesn't fit is known before the long work."""
        check_shards(recipe)
        graph, weights = setup.load(recipe.batch)
        shard = graph if recipe.shards == 1 else setup.load(recipe.batch // recipe.shards)[0]
        check_start(setup, recipe, graph, weights)
        train, test = (open_source(recipe.data, split, data_dir) for split in ("train", "test"))
        said, recipe = recipe, recipe.in_one_step(len(train))
        check_ranks(recipe, world)
        augmentation = parse_augmentation(recipe.augment)
        loss, shard_loss = (
            _fitting_loss(find_loss(recipe.loss, setup.model, part), part, train, test) for part in (graph, shard)
        )
        labelled = setup.weights if recipe.qat is not None else None
        labels = usable_labels(graph, setup.model, labelled, background=recipe.background)
        preparations = (
            preparation_for(graph, train, augmentation, recipe.seed, labels=labels, loss=loss),
            preparation_for(graph, test, NO_AUGMENTATION, labels=labels, loss=loss),
        )
        check_alike(*preparations)
        threads = setup.threads or world.cores
        nets = graph, weights, shard
        return Job(
            setup, said, recipe, *nets, train, test, *preparations, loss, shard_loss, labels, workers, threads, world
        )

    @property
    def notes(self) -> tuple[str | None, ...]:
        """What was guessed, or isn't plain, for people."""
        prepared = dict.fromkeys((*self.train_preparation.notes, *self.test_preparation.notes))
        said = (self._drawn_note(), self._folded_note(), self._shards_note(), self._ranks_note())
        return (self.labels.note, *prepared, *said)

    def _folded_note(self) -> str | None:
        """Whether batch normalisation may have been folded into the convolutions of a file."""
        kinds = {op.name for op in self.graph.operations}
        is_export = format_of(self.setup.model) is FORMATS["onnx"]
        if not is_export or not kinds & {"conv1d", "conv2d", "conv3d"} or kinds & {"batch_norm", "normalize"}:
            return None
        return (
            f"{self.graph.name} has no batch normalisation: if the module had some, the exporter folded it into "
            "convolutions; torch.onnx.export(..., dynamo=False, training=TrainingMode.PRESERVE, "
            "do_constant_folding=False) keeps it"
        )

    def _shards_note(self) -> str | None:
        if self.said.shards == 1 or not isinstance(self.loss, GraphLoss):
            return None
        return f"the loss of a batch is the mean of its {self.said.shards} shards', each by {self.recipe.loss}"

    def _ranks_note(self) -> str | None:
        """Whether ranks have nothing to do, and what would give all of them a part."""
        ranks, said, recipe = self.world.size, self.said, self.recipe
        if ranks <= recipe.shards:
            return None
        least = -(-ranks * said.shards // recipe.shards)
        fitting = next((n for n in range(least, said.batch + 1) if said.batch % n == 0), None)
        counted = f"{recipe.shards} shard" + ("s" if recipe.shards > 1 else "")
        cure = f"; with --shards {fitting}, which makes other weights, all have some" if fitting else ""
        return f"{ranks - recipe.shards} of {ranks} ranks get no work: a batch of {recipe.batch} has {counted}{cure}"

    def _drawn_note(self) -> str | None:
        if not self.setup.skip:
            return None
        given = find_weights(self.start, self.graph, skip=self.setup.skip)
        drawn = [op.result.name or "" for op in self.graph.parameters if op.result.name not in given]
        source = self.setup.weights or self.setup.model
        return f"not taken from {source} but drawn by seed {self.recipe.seed}: {', '.join(drawn) or 'none'}"

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the net's outputs are called, as far as net or data know."""
        return self.train_preparation.classes.names

    @property
    def fingerprint(self) -> str:
        """Hash of the network, and of the loss where that is a block of the user's."""
        graphs = (self.graph, self.loss.graph) if isinstance(self.loss, GraphLoss) else (self.graph,)
        return hashlib.sha256("".join(print_graph(g, locations=False) for g in graphs).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The resolved recipe, as the run keeps it."""
        setup = {name: getattr(self.setup, name) for name in IDENTITY}
        costs = {name: getattr(self.setup, name) for name in COSTS}
        costs |= {"threads": self.threads, "processor": self.processor}
        data = {"classes": self.classes, "data_classes": self.train.names, "data_hashes": self._data_hashes}
        return {**setup, **costs, "network": self.fingerprint, **self.said.as_json(), **data}

    @property
    def processor(self) -> str:
        """Whose code the run is."""
        return str(target_of(self.setup.cpu))

    @property
    def _data_hashes(self) -> list[str]:
        return [self.train.digest, self.test.digest]

    def decisive(self) -> dict[str, Any]:
        """What must be the same on all ranks: what the run keeps, but for paths and costs; and the samples."""
        others = {"model", "weights", "data_hashes", "processor", *COSTS} - {"bucket"}
        described = {name: value for name, value in self.description().items() if name not in others}
        splits = {"training": self.train, "test": self.test}
        counts = {f"{name} samples": len(source) for name, source in splits.items()}
        hashes = {f"{name} data of hash": source.digest for name, source in splits.items()}
        return {**described, **counts, **hashes}

    def check_data(self, kept: Mapping[str, Any]) -> None:
        """Raise `NetcError` if the data, or the classes of net or data, are not those that a run was started with."""
        for name, now in (("classes", self.classes), ("data_classes", self.train.names)):
            if kept.get(name) is not None and tuple(kept[name]) != now:
                before = ", ".join(kept[name][:_SHOWN])
                raise NetcError(
                    f"the classes of {self.train.name} are not those that the run was started with: {before}"
                )
        if kept.get("data_hashes", self._data_hashes) != self._data_hashes:
            message = f"the samples of {self.recipe.data} are not those that the run was started with"
            raise NetcError(message, hint="bring them back, or start a new run")

    def maker(self, source: Source, preparation: Preparation) -> Maker:
        """Who makes batches of a source."""
        if isinstance(source, ArraySource):
            return ArrayMaker(source, preparation)
        if self.workers == 0:
            return FileMaker(source, preparation)
        ahead = max(1, _AHEAD * self.said.batch // self.recipe.batch)
        return WorkerMaker(source, preparation, self.recipe.batch, self.workers, ahead)

    def stream(self) -> BatchStream:
        """The training data."""
        maker = self.maker(self.train, self.train_preparation)
        size = self.recipe.batch // self.recipe.shards
        row = row_of(self.world.rank, self.world.size, self.recipe.shards)
        rows = slice(row.start * size, row.stop * size)
        groups = self.train.groups if isinstance(self.train, FileSource) else None
        return BatchStream(len(self.train), self.recipe.batch, maker, self.recipe.seed, self.train.name, rows, groups)

    def ranges(self) -> Ranges | None:
        """For quantization-aware training, the ranges of activations to start from."""
        if self.recipe.qat is None or self.start is None:
            return None
        batch = self.recipe.batch
        count = max(1, -(-qat.SAMPLES // batch)) * batch
        samples = np.arange(count, dtype=np.int64) * len(self.train) // count
        plans = [Plan(0, i, part) for i, part in enumerate(samples.reshape(-1, batch))]
        preparation = preparation_for(self.graph, self.train, NO_AUGMENTATION, labels=self.labels, loss=self.loss)
        with closing(self.maker(self.train, preparation)) as maker:
            batches = (as_input(made.images, self.graph.inputs[0].type) for made in maker.make(plans))
            return qat.calibrated_ranges(self.graph, batches, self.start, self.recipe.qat, self.threads, self.setup.cpu)

    def request(self, steps_per_epoch: int, ranges: Ranges | None, observers: Sequence[Observer]) -> TrainingRequest:
        """What the training step is built from; `ranges` are where quantization-aware training starts."""
        return replace(
            self.setup.request(self.recipe, self.shard, self.shard_loss, steps_per_epoch),
            threads=self.threads,
            observers=observers,
            weights=self.start,
            skip=self.setup.skip,
            ranges=ranges,
        )

    def trainer(self, request: TrainingRequest, built: Callable[[TrainingCompilation], None]) -> Trainer:
        """Compile the training step; `built` is shown what became of each stage."""
        if self.recipe.shards == 1 and self.world.size == 1:
            trainer = load_trainer(request, built)
        else:
            trainer = load_sharded_trainer(request, self.graph, self.world, built)
        if self.classes is not None:
            trainer.metadata = {CLASSES: json.dumps(self.classes, ensure_ascii=False)}
        return trainer

    def tests(self) -> Maker:
        """Who makes the batches of the test split, throughout a run: starting workers takes about a second."""
        return self.maker(self.test, self.test_preparation)

    def score(self, program: Program, tests: Maker) -> Evaluation | Measured:
        """How a program does on the test split."""
        type_ = self.graph.inputs[0].type
        return measure(
            lambda x: program(as_input(x, type_)),
            self.test,
            tests,
            self.said.batch,
            self.test_preparation.targets,
            world=self.world,
        )

    def finish(self, run: Run, best: Mapping[str, float], tests: Maker) -> qat.Outcome | None:
        """After quantization-aware training, make the network of integers; how it does goes to the metrics, too."""
        if self.recipe.qat is None or self.start is None:
            return None
        outcome = qat.finish(
            self.graph,
            self.setup.load(1)[0],
            start=self.start,
            best=run.best,
            labels=self.classes,
            fake=best,
            measure=lambda program: self.score(program, tests),
            threads=self.threads,
            cpu=self.setup.cpu,
        )
        run.log({"kind": "quantized", **outcome.results()})
        return outcome


def _fitting_loss(loss: Loss, graph: Graph, *sources: Source) -> Loss:
    """The loss, which leaves out the pixels of either split that are no class."""
    if len(graph.outputs) != 1:
        return loss  # said when the net is compiled
    for source in sources:
        loss = ignoring(loss, graph.outputs[0].type, TargetFacts.of(source))
    return loss
