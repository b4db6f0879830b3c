"""The options of `netc train`, by what they are about, and what the command gets of them."""

from __future__ import annotations

from dataclasses import dataclass

import click

from .compiler.errors import NetcError
from .options import (
    allow_import_option,
    background_option,
    combine,
    data_dir_option,
    ema_option,
    gathered,
    objective_options,
    output_option,
    pattern_options,
    preprocess_option,
    settings_option,
    skip_option,
    target_options,
    update_options,
)
from .passlog import pass_options
from .pipeline import STAGES
from .plan import IMAGENET, parse_network
from .recipe import FINE_TUNING, TrainingRecipe
from .runtime.parallel.model import Network
from .runtime.parallel.watch import PATIENCE_SECONDS
from .runtime.parallel.world import World
from .runtime.training.loop import LoopOptions
from .training import QAT

setup_options = combine(
    click.option("--net", metavar="NAME", help="Which net of the file; default: the one named like the file."),
    settings_option,
    allow_import_option,
    preprocess_option,
    click.option("--size", type=click.IntRange(1), help="Pixels per side, for nets with the hyperparameter `size`."),
    click.option("--weights", metavar="FILE", help="Start from these weights; default: seeded initialisation."),
    skip_option,
)
"""The network, and what its training begins with."""

recipe_options = combine(
    click.option("--data", metavar="NAME", help="What to train on: see below."),
    click.option("--epochs", type=click.IntRange(1), help="Passes over the data."),
    click.option("--batch", type=click.IntRange(1, 65536), help="Samples per step."),
    objective_options,
    click.option("--augment", metavar="TEXT", help='For example "crop(4), flip"; none for none.'),
    click.option("--seed", type=click.IntRange(0), help="Of initial weights, order and augmentation."),
    update_options,
    click.option("--base-batch", type=click.IntRange(1), help="Learning rates are for updates by so many samples."),
    click.option(
        "--shards",
        type=click.IntRange(1, 4096),
        help="Parts of a batch, for ranks to share; batch_norm takes each alone. Default: by the batch, mostly 8.",
    ),
    pattern_options,
    ema_option,
    background_option,
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
"""What a recipe says, too: these override it."""

resource_options = combine(
    data_dir_option,
    click.option(
        "--workers", type=click.IntRange(0, 256), help="Processes that decode pictures; default: one per core."
    ),
    target_options,
    click.option(
        "--checkpoint-every",
        metavar="K",
        type=click.IntRange(0),
        help="Save memory: keep activations after every K layers or blocks only; 0 chooses where.",
    ),
)
"""What the training may take."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, how often, and who helps."""

    data_dir: str | None
    workers: int | None
    run_dir: str | None
    resume: str | None
    log_every: int
    save_every: int | None
    save_seconds: float
    patience: float

    def workers_of(self, world: World) -> int:
        """Processes that decode pictures."""
        return world.cores if self.workers is None else self.workers

    def loop(self, recipe: TrainingRecipe) -> LoopOptions:
        """What the training loop is told."""
        averaged = recipe.ema is not None
        return LoopOptions(recipe.epochs, self.log_every, self.save_every, self.save_seconds, averaged)


run_options = combine(
    click.option("--run-dir", metavar="FOLDER", help="Keep the run here; default: runs/NET-DATE-TIME."),
    click.option("--resume", metavar="RUN", help="Go on with this run."),
    click.option(
        "--log-every", type=click.IntRange(1), default=50, show_default=True, help="Steps per line of metrics."
    ),
    click.option("--save-every", type=click.IntRange(1), help="Also save after so many steps."),
    click.option(
        "--save-seconds", type=click.FloatRange(1), default=120.0, show_default=True, help="Also save so often."
    ),
    click.option(
        "--patience",
        metavar="SECONDS",
        type=click.FloatRange(1),
        default=PATIENCE_SECONDS,
        show_default=True,
        help="Of several ranks: end the job when they have waited so long for one.",
    ),
    click.option(
        "--bucket",
        metavar="MB",
        type=click.FloatRange(0, min_open=True),
        help="Of several ranks: add gradients by so many megabytes while others are computed. Default: 25.",
    ),
)
"""What a run leaves behind, and how ranks work together."""


@dataclass(frozen=True)
class PlanOptions:
    """Whether training is predicted, and for what."""

    plan: bool
    ranks: int
    network: str
    latency: float
    samples: int

    def parsed_network(self) -> Network:
        """What connects the ranks."""
        return parse_network(self.network, self.latency)


plan_options = combine(
    click.option("--plan", is_flag=True, help="Don't train: measure a step here, predict it for many ranks."),
    click.option("--ranks", type=click.IntRange(1, 1 << 20), default=1024, show_default=True, help="Of --plan: up to."),
    click.option("--network", metavar="SPEED", default="25Gbit", show_default=True, help="Of --plan: or 12.5GB/s."),
    click.option("--latency", type=click.FloatRange(0), default=20.0, show_default=True, help="Of --plan, in µs."),
    click.option(
        "--samples", type=click.IntRange(1), default=IMAGENET, show_default=True, help="Of --plan: of an epoch."
    ),
    gathered(prediction=PlanOptions),
)
"""Of a prediction in place of a training."""


@dataclass(frozen=True)
class EmitOptions:
    """Which stage of the step is written in place of a training, and where."""

    emit: str | None
    output: str | None

    def check(self) -> None:
        """Raise `NetcError` for a file of which nothing says what belongs into it."""
        if self.output and not self.emit:
            raise NetcError("-o needs --emit", hint="for example --emit object -o step.o")


emit_options = combine(
    click.option("--emit", type=click.Choice(STAGES), help="Write this stage of the training step; don't train."),
    output_option,
    pass_options,
    gathered(emitted=EmitOptions),
)
"""Of stages of the step in place of a training."""
