"""What must fit before a net is trained: batch and shards, ranks, the start, the data."""

from __future__ import annotations

from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.patterns import matching
from .compiler.training import parse_optimizer, parse_rates, parse_schedule, rates_of
from .loading import Weights, find_weights
from .recipe import TrainingRecipe
from .runtime.parallel.world import World
from .runtime.training.samples import Preparation
from .training_setup import Setup


def check_shards(recipe: TrainingRecipe) -> None:
    """Raise `NetcError` unless a batch can be cut into its shards."""
    batch, shards = recipe.batch, recipe.shards
    if batch % shards:
        raise NetcError(f"a batch of {batch} can't be cut into {shards} equal shards", hint="choose a divisor of it")
    if shards > 1 and recipe.qat is not None:
        raise NetcError("quantization-aware training takes a batch as a whole", hint="give --shards 1")


def check_ranks(recipe: TrainingRecipe, world: World) -> None:
    """Raise `NetcError` unless there is a sample for each rank."""
    if world.size > 1 and recipe.qat is not None:
        raise NetcError("quantization-aware training runs on one rank")
    if world.size > recipe.batch:
        message = f"{world.size} ranks share updates by {recipe.batch} samples"
        raise NetcError(message, hint=f"start at most {recipe.batch}")


def check_start(setup: Setup, recipe: TrainingRecipe, graph: Graph, weights: Weights) -> None:
    """Raise `NetcError` for a start that doesn't fit, and for settings that are only read when the step is compiled."""
    if recipe.qat is not None and weights is None:
        hint = "give --weights, for example best.safetensors of an earlier run"
        raise NetcError("quantization-aware training goes on from trained weights", hint=hint)
    if recipe.qat is not None and setup.skip:
        raise NetcError("quantization-aware training takes all weights as they are", hint="leave --skip out")
    parse_optimizer(recipe.optimizer)
    parse_schedule(recipe.schedule)
    frozen = matching(recipe.freeze, [op.result.name or "" for op in graph.parameters])
    trainable = [op.result.name or "" for op in graph.parameters if op.attributes["trainable"]]
    rates_of(parse_rates(recipe.lr), [name for name in trainable if name not in frozen], 0.0)
    if weights is not None or setup.skip:
        find_weights(weights, graph, skip=setup.skip)


def check_alike(train: Preparation, test: Preparation) -> None:
    """Raise `NetcError` for data whose splits mean different things."""
    if (train.preprocess is None) != (test.preprocess is None):
        notes = "; ".join((*train.notes, *test.notes))
        raise NetcError(f"training and test samples don't mean the same: {notes}", hint="make their ranges alike")
