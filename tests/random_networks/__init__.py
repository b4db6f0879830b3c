"""Random operators and small networks, with values to run them on.

Each registered operator has a recipe, which draws its operands, preferably values that are there, and its attributes.
Choices come from Hypothesis, which shrinks what fails, or from a seed.
"""

from __future__ import annotations

from . import contractions, elementwise, integers, structure
from .maker import Maker, Network, Settings, UnfitError
from .recipes import EXCLUDED, RECIPES
from .source import Seeded, Shrinking, Source, choice

__all__ = [
    "EXCLUDED",
    "RECIPES",
    "Maker",
    "Network",
    "Seeded",
    "Settings",
    "Shrinking",
    "Source",
    "choice",
    "contractions",
    "draw_network",
    "elementwise",
    "integers",
    "structure",
]

COMMON = (
    *("conv2d", "relu", "add", "dense", "pad", "concat", "slice", "reshape", "transpose", "mul", "reduce_sum"),
    *("max_pool", "avg_pool", "batch_norm", "reduce_mean", "sigmoid", "conv2d", "cast", "q_conv2d", "q_add"),
)
"""What networks are mostly made of: drawn as often as all operators together."""


def draw_network(source: Source, settings: Settings | None = None, names: tuple[str, ...] = ()) -> Network:
    """A network of a few operators, of these names if any are given."""
    maker = Maker(source, settings or Settings())
    everything = names or tuple(RECIPES)
    steps = choice(source, (1, 2, 3, 4, 6))
    made = attempts = 0
    while made < steps and attempts < 5 * steps:
        attempts += 1
        often = not names and source.number(0, 1) == 0
        made += _step(maker, choice(source, COMMON if often else everything))
    if not maker.values:
        maker.operand()
    return maker.finish()


def _step(maker: Maker, name: str) -> bool:
    """Draw one operator; False where it doesn't fit."""
    try:
        RECIPES[name](maker, name)
    except UnfitError:
        return False
    return True
