"""`netc train`: train a net, or go on training it."""

from __future__ import annotations

import hashlib
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

import click
import numpy as np

import netc

from .. import qat
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.printer import print_graph
from ..compiler.quantization import Ranges
from ..compiler.training import GraphLoss
from ..frontend import load_recipe
from ..losses import find_loss
from ..options import combine, settings_option
from ..picture import class_labels
from ..pipeline import Request, build, load, load_program
from ..progress import Watcher
from ..recipe import FINE_TUNING, TrainingRecipe, check_same, resolve_recipe
from ..runtime.evaluate import Evaluation
from ..runtime.host import available_cores
from ..runtime.program import Program
from ..runtime.trainer import QatTrainer
from ..runtime.training.augment import NO_AUGMENTATION, parse_augmentation
from ..runtime.training.batches import ArrayMaker, BatchStream, FileMaker, Maker, Plan
from ..runtime.training.events import Finished, Interrupted
from ..runtime.training.loop import Evaluate, LoopOptions, Scores, Trainer, TrainingLoop
from ..runtime.training.opening import open_source
from ..runtime.training.run import Run, new_run_path, read_description
from ..runtime.training.samples import Preparation, preparation_for
from ..runtime.training.scoring import score
from ..runtime.training.sources import ArraySource, Source
from ..runtime.training.workers import WorkerMaker
from ..training import QAT

_INTERRUPTED = 130

recipe_options = combine(
    click.option("--data", metavar="NAME", help="mnist, cifar10, imagenet-samples, imagefolder:DIR or FILE.npz."),
    click.option("--epochs", type=click.IntRange(1), help="Passes over the data."),
    click.option("--batch", type=click.IntRange(1, 65536), help="Samples per step."),
    click.option("--loss", metavar="TEXT", help="For example softmax_cross_entropy."),
    click.option("--optimizer", metavar="TEXT", help='For example "sgd(lr=0.1, momentum=0.9)".'),
    click.option("--schedule", metavar="TEXT", help='Of the learning rate: "cosine(epochs=12, warmup=1)".'),
    click.option("--augment", metavar="TEXT", help='For example "crop(4), flip"; none for none.'),
    click.option("--seed", type=click.IntRange(0), help="Of initial weights, order and augmentation."),
    click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), help="Share spread on all classes."),
    click.option("--weight-decay", type=click.FloatRange(0), help="Decay of all weights."),
    click.option("--clip-norm", type=click.FloatRange(0, min_open=True), help="Largest norm of the gradient."),
    click.option("--accumulate", type=click.IntRange(1), help="Batches per update."),
    click.option("--ema", type=click.FloatRange(0, 1, max_open=True), help="Decay of the weights' moving average."),
    click.option(
        "--qat",
        is_flag=True,
        help="Quantization-aware: fine-tune --weights for a network of 8-bit integers; unless said otherwise "
        f"{FINE_TUNING['epochs']} epochs of {FINE_TUNING['optimizer']}, {FINE_TUNING['schedule']}.",
    ),
    click.option(
        "--qat-ranges",
        type=click.Choice(QAT),
        help="Ranges of activations follow those of batches (moving, the default) or are trained; implies --qat.",
    ),
)


@click.command("train")
@click.argument("model", required=False)
@click.option("--net", metavar="NAME", help="Which net of the file; default: the one named like the file.")
@settings_option
@click.option("--size", type=click.IntRange(1), help="Pixels per side, for nets with the hyperparameter `size`.")
@click.option("--weights", metavar="FILE", help="Start from these weights; default: seeded initialisation.")
@recipe_options
@click.option("--data-dir", metavar="FOLDER", help="Where data sets lie; default: NETC_DATA, else ../shared/data.")
@click.option("--workers", type=click.IntRange(0, 256), help="Processes that decode pictures; default: one per core.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; default: one per core.")
@click.option(
    "--checkpoint-every",
    metavar="K",
    type=click.IntRange(0),
    help="Save memory: keep activations after every K layers or blocks only; 0 chooses where.",
)
@click.option("--run-dir", metavar="FOLDER", help="Keep the run here; default: runs/NET-DATE-TIME.")
@click.option("--resume", metavar="RUN", help="Go on with this run.")
@click.option("--log-every", type=click.IntRange(1), default=50, show_default=True, help="Steps per line of metrics.")
@click.option("--save-every", type=click.IntRange(1), help="Also save after so many steps.")
@click.option("--save-seconds", type=click.FloatRange(1), default=120.0, show_default=True, help="Also save so often.")
def train_command(
    model: str | None,
    net: str | None,
    settings: dict[str, object],
    size: int | None,
    weights: str | None,
    data_dir: str | None,
    workers: int | None,
    threads: int | None,
    checkpoint_every: int | None,
    run_dir: str | None,
    resume: str | None,
    log_every: int,
    save_every: int | None,
    save_seconds: float,
    **flags: Any,
) -> int:
    """Train MODEL by the recipe in its file; flags override it. With --resume the recipe is that of the run."""
    setup = _Setup(model or "", net, settings, size, weights, threads, checkpoint_every)
    if flags.pop("qat") and resume is None:
        flags["qat_ranges"] = flags["qat_ranges"] or "moving"
    flags["qat"] = flags.pop("qat_ranges")
    options = LoopOptions(0, log_every, save_every, save_seconds)
    workers = available_cores() if workers is None else workers
    if resume is not None:
        if run_dir is not None:
            raise NetcError("--resume goes on in the run's own folder", hint="leave --run-dir out")
        return _resume(Path(resume), setup, flags, options, data_dir, workers)
    if model is None:
        raise NetcError("nothing to train", hint="give a model, for example netc train mlp_mnist")
    job = _Job.prepare(setup, resolve_recipe(load_recipe(model, net=net), flags), data_dir, workers)
    stream = job.stream()
    run = Run.create(Path(run_dir) if run_dir else new_run_path(job.graph.name), job.description())
    return _train(job, stream, run, options)


def _resume(
    path: Path, asked: _Setup, flags: Mapping[str, Any], options: LoopOptions, data_dir: str | None, workers: int
) -> int:
    kept = read_description(path)["recipe"]
    if lacking := {*_IDENTITY, "threads", "network"} - kept.keys():
        raise NetcError(f"{path} was written by another version of netc: its recipe lacks {', '.join(sorted(lacking))}")
    job = _Job.prepare(asked.resumed(kept), check_same(TrainingRecipe.from_json(kept), flags), data_dir, workers)
    if kept["network"] != job.fingerprint:
        raise NetcError(
            f"the network or its loss is not the one that {path} was started with", hint="restore the .net file"
        )
    return _train(job, job.stream(), Run.open(path), options)


@dataclass(frozen=True, slots=True)
class _Setup:
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

    def resumed(self, recipe: Mapping[str, Any]) -> _Setup:
        """The set-up that a run keeps. What is given now must not differ from it, costs of time and memory aside."""
        kept = {name: recipe.get(name) for name in (*_IDENTITY, *_COSTS)}
        for name in _IDENTITY:
            given = getattr(self, name)
            if given and given != kept[name]:
                hint = "leave it out, or start a new run"
                raise NetcError(f"this run was started with {name} = {kept[name]}, not {given}", hint=hint)
        given = {name: value for name in _COSTS if (value := getattr(self, name)) is not None}
        return _Setup(**kept | given)


_IDENTITY = ("model", "net", "settings", "size", "weights")
"""Of the set-up, what must stay the same throughout a run."""
_COSTS = ("threads", "checkpoint_every")
"""Of the set-up, what may change."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A net with its data, ready to be compiled."""

    setup: _Setup
    recipe: TrainingRecipe
    graph: Graph
    train: Source
    test: Source
    train_preparation: Preparation
    test_preparation: Preparation
    workers: int
    threads: int

    @staticmethod
    def prepare(setup: _Setup, recipe: TrainingRecipe, data_dir: str | None, workers: int) -> _Job:
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
        return _Job(setup, recipe, graph, train, test, *preparations, workers, threads)

    @property
    def fingerprint(self) -> str:
        """Hash of the network, and of the loss where that is a block of the user's."""
        loss = find_loss(self.recipe.loss, self.setup.model, self.graph)
        graphs = (self.graph, loss.graph) if isinstance(loss, GraphLoss) else (self.graph,)
        return hashlib.sha256("".join(print_graph(g, locations=False) for g in graphs).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The resolved recipe, as the run keeps it."""
        setup = {name: getattr(self.setup, name) for name in _IDENTITY}
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


def _train(job: _Job, stream: BatchStream, run: Run, options: LoopOptions) -> int:
    options = replace(options, epochs=job.recipe.epochs, averaged=job.recipe.ema is not None)
    with run, stream, Watcher(job.graph.name) as watcher, _stop_on_interrupt(watcher) as stop:
        watcher.line(f"run {run.path}")
        if job.recipe.qat is not None:
            watcher.line(f"quantization-aware: {job.recipe.optimizer}, {job.recipe.schedule}, ranges {job.recipe.qat}")
        trainer = job.trainer(stream.steps_per_epoch)
        diagnose = getattr(trainer, "diagnose", None)
        evaluate = job.evaluation(trainer)
        loop = TrainingLoop(trainer, stream, run, options, evaluate=evaluate, diagnose=diagnose, stop=stop)
        for event in loop.events():
            watcher.show(event)
            if isinstance(event, Interrupted):
                watcher.line(f"stopped and saved; go on with: netc train --resume {run.path}")
                return _INTERRUPTED
            if isinstance(event, Finished) and (outcome := job.finish(run, event.best)) is not None:
                for line in outcome.lines():
                    watcher.line(line)
        watcher.line(f"weights: {run.best}")
    return 0


@contextmanager
def _stop_on_interrupt(watcher: Watcher) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C, or SIGTERM, ask for a stop after the present step; the next one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        watcher.line("stopping after this step; once more stops at once, without saving")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
