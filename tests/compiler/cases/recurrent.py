"""Layers over sequences, scans, and Fourier transforms."""

from __future__ import annotations

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.ops.sequences.sequence_lstm import GATES, SEEING
from netc.compiler.types import DType, TensorType

from .case import OpCase, Shape


def running_sum() -> Graph:
    """A step that adds x, weighed, to the state, and gives what it was before."""
    b = GraphBuilder("step")
    state, x, weight = (b.input(name, TensorType(DType.F32, (2, 20))) for name in ("state", "x", "weight"))
    after = b.emit("add", state, b.emit("mul", x, b.emit("exp", weight)))
    return b.finish([after, state, b.emit("reshape", after, shape=(40,))])


def exchange() -> Graph:
    """A step that exchanges its states, one of which it gives."""
    b = GraphBuilder("step")
    a, c = (b.input(name, TensorType(DType.F32, (5,))) for name in ("a", "c"))
    x = b.input("x", TensorType(DType.F32, (5,)))
    return b.finish([c, a, b.emit("sub", a, x), a])


def lstm(shape: Shape, cells: int, units: int, *kinds: str, time_major: bool = False, **attributes: object) -> OpCase:
    """A layer with these kinds of weights besides the usual ones."""
    batch, inputs = shape[1 if time_major else 0], shape[2]
    gates = [g for g in GATES if g != "input" or "coupled" not in kinds]
    shapes: dict[str, Shape] = {f"{g}_weight": (inputs, cells) for g in gates}
    shapes |= {f"{g}_recurrent": (units, cells) for g in gates} | {f"{g}_bias": (cells,) for g in gates}
    if "peephole" in kinds:
        shapes |= {f"{g}_peephole": (cells,) for g in SEEING if g in gates}
    if "norm" in kinds:
        shapes |= {f"{g}_norm": (cells,) for g in gates}
    if "projection" in kinds:
        shapes |= {"projection": (cells, units), "projection_bias": (units,)}
    given = {"roles": tuple(shapes), "time_major": time_major, **attributes}
    return OpCase("sequence_lstm", (shape, (batch, units), (batch, cells), *shapes.values()), given, weights=3)


_SCAN = {"states": 1, "sequences": 1}

CASES: tuple[OpCase, ...] = (
    *(
        OpCase(
            "scan",
            ((2, 20), (steps, 2, 20), (2, 20)),
            {"body": running_sum(), "steps": steps, "reverse": reverse, **_SCAN},
            weights=2,
        )
        for steps, reverse in ((4, False), (5, True), (1, True))
    ),
    OpCase("scan", ((5,), (5,), (3, 5)), {"body": exchange(), "states": 2, "sequences": 1, "steps": 3}),
    lstm((1, 4, 7), 9, 9),
    lstm((3, 2, 16), 33, 33, "coupled", "peephole", cell_clip=0.2),
    lstm((5, 2, 3), 20, 4, "projection", "norm", time_major=True, projection_clip=0.1),
    lstm((1, 1, 1), 1, 1, activation=""),
    OpCase("sequence_rnn", ((2, 5, 7), (2, 20), (7, 20), (20, 20), (20,)), weights=2),
    OpCase(
        "sequence_rnn",
        ((3, 1, 2), (1, 5), (2, 5), (5, 5), (5,)),
        {"activation": "relu", "time_major": True},
        weights=2,
    ),
    OpCase("svdf", ((2, 7), (2, 30), (7, 6), (6, 5), (3,)), {"rank": 2, "activation": "relu"}, weights=2),
    OpCase("svdf", ((1, 3), (1, 4), (3, 4), (4, 1)), {"rank": 1}, weights=2),
    *(OpCase("rfft", (shape,), {"length": n}) for shape, n in (((2, 8), 8), ((3, 20), 64), ((70,), 30), ((2, 1), 1))),
    OpCase("rfft", ((2, 3, 100),), {"length": 100}),
    *(OpCase("irfft", (shape,), {"length": n}) for shape, n in (((2, 5, 2), 8), ((3, 20, 2), 64), ((9, 2), 7))),
    OpCase("irfft", ((2, 3, 2),), {"length": 1}),
    OpCase("rfft2", ((2, 4, 8),), {"sizes": (4, 8)}),
    OpCase("rfft2", ((5, 40),), {"sizes": (8, 32)}),
    OpCase("rfft2", ((1, 3, 6),), {"sizes": (1, 5)}),
)
