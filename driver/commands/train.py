"""`netc train`: train a net, or go on training it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..compiler.errors import NetcError
from ..compiler.quantization import Ranges
from ..data_help import DataCommand
from ..frontend import FORMATS, format_of, load_recipe
from ..notes import show_notes
from ..options import gathered
from ..output import check_results, echo, write_result
from ..passlog import PassLog
from ..pipeline import build, check_runs_here, target_of
from ..plan import show_plan
from ..progress import Watcher
from ..recipe import TrainingRecipe, check_same, overridden, resolve_recipe
from ..recipe_check import recipe_problems
from ..runtime.data.registry import path_of
from ..runtime.parallel.launcher import launcher
from ..runtime.parallel.team import follow, leading
from ..runtime.parallel.trainer import ShardedTrainer
from ..runtime.parallel.watch import Watch
from ..runtime.parallel.world import World, this_world
from ..runtime.trainer import Trainer
from ..runtime.training.batches import BatchStream, Maker
from ..runtime.training.events import Event, Finished, Interrupted, Saved, Started
from ..runtime.training.loop import LoopOptions, TrainingLoop
from ..runtime.training.run import Run, check_free, new_run_path, read_description
from ..scorer import Scorer
from ..stopping import noting_sigterm, passing_on_signals, stopping_after_a_step
from ..together import agree, facts_of, together
from ..training_job import Job
from ..training_options import (
    EmitOptions,
    PlanOptions,
    RunOptions,
    emit_options,
    plan_options,
    recipe_options,
    resource_options,
    run_options,
    setup_options,
)
from ..training_setup import IDENTITY, Setup

_INTERRUPTED = 130
_REQUEUE = 99
"""The exit code that Grid Engine takes as a wish to be queued again; other schedulers can be told to."""
_ANY = Ranges({}, "none", 0)
"""For a step that isn't run: where its ranges start is no part of it."""


@click.command("train", cls=DataCommand)
@click.argument("model", default="")
@setup_options
@recipe_options
@resource_options
@run_options
@plan_options
@emit_options
@gathered(setup=Setup, run=RunOptions)
def train_command(
    setup: Setup, run: RunOptions, prediction: PlanOptions, emitted: EmitOptions, log: PassLog, **flags: Any
) -> int:
    """Train MODEL by the recipe in its file; flags override it. With --resume the recipe is that of the run."""
    if flags.pop("qat") and run.resume is None:
        flags["qat_ranges"] = flags["qat_ranges"] or "moving"
    flags["qat"] = flags.pop("qat_ranges")
    if prediction.plan:
        _plan(setup, flags, prediction)
        return 0
    world = this_world()

    def prepare() -> _Begun:
        emitted.check()
        check_results((emitted.output,), (setup.model, setup.weights))
        begun = _begun(setup, flags, run, world)
        if not emitted.emit:
            check_runs_here(target_of(begun[0].setup.cpu))
        return begun

    with Watch(world, run.patience) as watch, noting_sigterm(watch, world) as asked:
        if not watch.reached:
            show_notes("not all ranks reach the watcher on rank 0's machine: the launcher alone sees that one dies")
        job, start = together(world, prepare)
        if world.size > 1:
            agree(world, facts_of(job.setup.cpu, {"weights": job.setup.weights}) | job.decisive())
        if emitted.emit:
            return 0 if world.rank else _emit(job, emitted.emit, emitted.output, log)
        if world.rank:
            return _assist(job, watch)
        return _train(job, start, run.loop(job.recipe), log, watch, asked)


_Begun = tuple[Job, Callable[[], Run]]
"""What is trained, and what makes or opens its run."""


def _begun(setup: Setup, flags: Mapping[str, Any], run: RunOptions, world: World) -> _Begun:
    """A run that begins or goes on."""
    if run.resume is None:
        return _new(setup, flags, run, world)
    if run.run_dir is not None:
        raise NetcError("--resume goes on in the run's own folder", hint="leave --run-dir out")
    return _resumed(Path(run.resume), setup, flags, run, world)


def _new(setup: Setup, flags: Mapping[str, Any], run: RunOptions, world: World) -> _Begun:
    """A run that begins."""
    if not setup.model:
        raise NetcError("nothing to train", hint="give a model, for example netc train mlp_mnist")
    if run.run_dir is not None:
        check_free(Path(run.run_dir))
    job = Job.prepare(setup, _recipe(setup, flags), run.data_dir, run.workers_of(world), world)

    def create() -> Run:
        return Run.create(Path(run.run_dir) if run.run_dir else new_run_path(job.graph.name), job.description())

    return job, create


def _recipe(setup: Setup, flags: Mapping[str, Any]) -> TrainingRecipe:
    """The recipe of a run that begins."""
    has_recipe = format_of(setup.model) is FORMATS["net"]
    data_path = path_of if flags.get("data") is None else None
    written = load_recipe(setup.model, net=setup.net, data_path=data_path) if has_recipe else None
    graph = None
    with suppress(NetcError):  # what is wrong with the net is reported when it is trained
        graph, _ = setup.load(1)
    if written is not None and (problems := recipe_problems(written, setup.model, graph, overridden(flags))):
        raise NetcError(problems)
    return resolve_recipe(written, flags, graph)


def _plan(setup: Setup, flags: Mapping[str, Any], asked: PlanOptions) -> None:
    """Predict training on many ranks; this reads no data."""
    network = asked.parsed_network()
    if launcher() is not None:
        raise click.ClickException("--plan measures one process: start it without mpirun")
    if not setup.model or flags["qat"] is not None:
        raise NetcError("--plan is for a net that is trained in floats", hint="for example netc train resnet50 --plan")
    show_plan(setup, _recipe(setup, {**flags, "data": "none"}), asked.ranks, network, asked.samples)


def _resumed(path: Path, asked: Setup, flags: Mapping[str, Any], run: RunOptions, world: World) -> _Begun:
    """A run that goes on."""
    kept = read_description(path)["recipe"]
    if lacking := {*IDENTITY, "threads", "network"} - {"skip", "preprocess"} - kept.keys():
        raise NetcError(f"{path} was written by another version of netc: its recipe lacks {', '.join(sorted(lacking))}")
    recipe = check_same(TrainingRecipe.from_json(kept), flags)
    job = Job.prepare(asked.resumed(kept), recipe, run.data_dir, run.workers_of(world), world)
    if kept["network"] != job.fingerprint:
        raise NetcError(
            f"the network or its loss is not the one that {path} was started with", hint="restore the .net file"
        )
    job.check_data(kept)
    if kept.get("processor", job.processor) != job.processor:
        show_notes(f"the run began with code for {kept['processor']}: that for {job.processor} gives other bits")
    return job, lambda: Run.open(path)


def _emit(job: Job, stage: str, output: str | None, log: PassLog) -> int:
    """Write a stage of the training step."""
    with job.stream() as stream:
        request = job.request(stream.steps_per_epoch, _ANY, log.observers)
    compilation = build(request, until=stage)
    write_result(compilation.emit(stage), output)
    log.report(compilation.stages)
    return 0


@dataclass(frozen=True)
class _Built:
    """What is compiled and opened before a run begins."""

    trainer: Trainer
    stream: BatchStream
    tests: Maker
    scorer: Scorer

    @staticmethod
    def of(job: Job, log: PassLog) -> _Built:
        """Compile the training step and the net that is evaluated."""
        stream = job.stream()
        request = job.request(stream.steps_per_epoch, job.ranges(), log.observers)
        trainer = job.trainer(request, lambda c: log.report(c.stages))
        tests = job.tests()
        return _Built(trainer, stream, tests, Scorer(job, trainer, tests))


def _built(job: Job, log: PassLog) -> _Built:
    """What all ranks have compiled and opened, whose weights are the same."""
    built = together(job.world, lambda: _Built.of(job, log))
    if isinstance(built.trainer, ShardedTrainer) and job.world.size > 1:
        agree(job.world, {"weights of hash": built.trainer.digest})
    return built


def _train(
    job: Job, start: Callable[[], Run], options: LoopOptions, log: PassLog, watch: Watch, asked: list[int]
) -> int:
    """Compile and train; the run starts only when everything else has succeeded. `asked` are signals to stop."""
    show_notes(*job.notes)
    if job.recipe.qat is not None:
        recipe = job.recipe
        echo(f"quantization-aware: {recipe.optimizer}, {recipe.schedule}, ranges {recipe.qat}")
    built = _built(job, log)
    trainer, tests = built.trainer, built.tests
    if isinstance(trainer, ShardedTrainer):
        trainer.note, watch.bucket = watch.at, lambda: trainer.bucket
    with (
        together(job.world, start) as run,
        built.stream,
        closing(tests),
        closing(built.scorer),
        Watcher(job.graph.name) as watcher,
        stopping_after_a_step(asked, watch, job.world, watcher.line),
        leading(trainer, built.stream, built.scorer, job.world) as (batches, evaluate, ending),
        _hinting_how_to_go_on(run),
    ):
        watcher.line(f"run {run.path}")
        watch.know(resume=f"netc train --resume {run.path}", report=str(run.path.absolute() / "failure.txt"))
        diagnose = trainer.diagnose
        loop = TrainingLoop(
            trainer, batches, run, options, evaluate=evaluate, diagnose=diagnose, stop=lambda: bool(asked)
        )
        for event in loop.events():
            _tell(watch, event)
            watcher.show(event)
            if isinstance(event, Interrupted):
                watcher.line(f"stopped and saved; go on with: netc train --resume {run.path}")
                ending.code = _REQUEUE if signal.SIGTERM in asked else _INTERRUPTED
                return ending.code
            if isinstance(event, Finished) and (outcome := job.finish(run, event.best, tests)) is not None:
                for line in outcome.lines():
                    watcher.line(line)
        watcher.line(f"weights: {run.best}")
    return 0


@contextmanager
def _hinting_how_to_go_on(run: Run) -> Iterator[None]:
    """Errors that have no other hint, such as that of a full disk, say how the run goes on, if it can."""
    try:
        yield
    except NetcError as error:
        if not run.checkpoints:
            raise
        raise error.hinted(f"netc train --resume {run.path} goes on from the last checkpoint") from None


def _tell(watch: Watch, event: Event) -> None:
    """Tell the watcher of the job from which checkpoint it can go on."""
    checkpoint = event.resumed if isinstance(event, Started) else event.path if isinstance(event, Saved) else None
    if checkpoint is not None:
        watch.know(checkpoint=str(checkpoint))


def _assist(job: Job, watch: Watch) -> int:
    """What a rank but the first does: its part of every step, as rank 0 says. It prints and writes nothing."""
    built = _built(job, PassLog())
    trainer, stream = built.trainer, built.stream
    assert isinstance(trainer, ShardedTrainer), "several ranks train in shards"
    trainer.note, watch.bucket = watch.at, lambda: trainer.bucket
    together(job.world, lambda: None)  # rank 0 makes the run's folder
    with passing_on_signals(watch), stream, closing(built.tests), closing(built.scorer):
        return follow(trainer, stream, built.scorer.assist, job.world)
