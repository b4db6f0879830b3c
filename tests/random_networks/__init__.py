"""Random operators and small networks, with values to run them on.

Each registered operator has a recipe, which draws its operands, preferably values that are there, and its attributes.
Functions of one element have one by their class.
Choices come from Hypothesis, which shrinks what fails, or from a seed.
"""

from __future__ import annotations

from netc.compiler.graph.registry import operators
from netc.compiler.ops.functions.elementwise import BinaryOperator, UnaryOperator
from netc.compiler.ops.quantized.activation import ByteFunction
from netc.compiler.types import DType

from . import (
    contractions,
    elementwise,
    functions,
    hybrids,
    integers,
    moves,
    narrow,
    normalization,
    products,
    recurrent,
    resampling,
    shorts,
    structure,
)
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
    "functions",
    "hybrids",
    "integers",
    "moves",
    "narrow",
    "normalization",
    "products",
    "random_case",
    "recurrent",
    "resampling",
    "shorts",
    "structure",
]

for _name, _operator in operators().items():
    if _name not in RECIPES and isinstance(_operator, UnaryOperator):
        RECIPES[_name] = elementwise.function if _operator.floats_only else elementwise.simple
    elif _name not in RECIPES and isinstance(_operator, BinaryOperator):
        RECIPES[_name] = elementwise.binary
    elif _name not in RECIPES and isinstance(_operator, ByteFunction):
        RECIPES[_name] = integers.function

COMMON = (
    *("conv2d", "relu", "add", "dense", "pad", "concat", "slice", "reshape", "transpose", "mul", "reduce_sum"),
    *("max_pool", "avg_pool", "batch_norm", "reduce_mean", "sigmoid", "conv2d", "cast", "q_conv2d", "q_add"),
)
"""What networks are mostly made of: drawn as often as all operators together."""


FLOATS = (
    *("conv2d", "conv2d", "batch_norm", "relu", "add", "dense", "mul", "relu6", "sub", "maximum", "minimum", "tanh"),
    *("sigmoid", "neg", "abs", "leaky_relu", "hard_sigmoid", "identity", "clamp", "max_pool", "avg_pool", "pad"),
    *("reduce_mean", "reduce_max", "reduce_sum", "reshape", "transpose", "concat", "slice", "softmax", "dropout"),
)
"""Operators of networks in floats, as they come from texts."""


def random_case(seed: int, operations: int = 20) -> Network:
    """A network of many operators on f32 that follows from a seed, for tests of passes."""
    return draw_network(
        Seeded(seed), Settings((DType.F32,), smooth=True, zeros=False, located=True), FLOATS, operations
    )


def draw_network(
    source: Source, settings: Settings | None = None, names: tuple[str, ...] = (), operations: int = 0
) -> Network:
    """A network of a few operators, or as many as are asked for, of these names if any are given."""
    maker = Maker(source, settings or Settings())
    everything = names or tuple(RECIPES)
    steps = operations or choice(source, (1, 2, 3, 4, 6))
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
