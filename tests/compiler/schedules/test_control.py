"""Conditions and loops: the interpreter, the loops and the machine code agree; threads meet where they must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import sequence
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.registry import lookup
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Block, Memory, Slot
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType

RNG = np.random.default_rng(0)
F32, I32 = DType.F32, DType.I32
COUNT = TensorType(I32, ())


def control(b: GraphBuilder, name: str, operands: list[Value], **graphs: Graph) -> tuple[Value, ...]:
    return b.operation(lookup(name), operands, graphs).results


def region(name: str, *types: TensorType) -> tuple[GraphBuilder, list[Value]]:
    b = GraphBuilder(name)
    return b, [b.input(f"x{n}", t) for n, t in enumerate(types)]


def below(*types: TensorType) -> Graph:
    """The first value is below the last one."""
    b, values = region("below", *types)
    return b.finish([b.emit("less", values[0], values[-1])])


def loop(channels: int = 3, layers: int = 1) -> Graph:
    """The state and the one before it go on; the body has convolutions, whose operands get margins."""
    x_type = TensorType(F32, (1, 6, 5, channels))
    types = (COUNT, x_type, x_type, COUNT)
    b, (i, x, last, _) = region("body", *types)
    weight = RNG.standard_normal((3, 3, channels, channels)).astype(np.float32) / 4
    y = x
    for _ in range(layers):
        y = b.emit("tanh", y)
        y = b.emit("conv2d", y, b.constant(weight), strides=(1, 1), dilations=(1, 1), padding="same")
    y = b.emit("add", y, last)
    body = b.finish([b.emit("add", i, b.scalar(1, I32)), y, x])
    b, (x, n) = region("looped", x_type, COUNT)
    begin = b.emit("relu", x)
    i, y, last = control(b, "while", [b.scalar(0, I32), x, begin, n], condition=below(*types), body=body)
    return b.finish([b.emit("sub", y, begin), last, i])


def nested() -> Graph:
    """A condition in a loop in a loop in a condition; a value swaps places with another."""
    x_type = TensorType(F32, (4, 7))
    inner_types = (COUNT, x_type, x_type, COUNT)
    b, (i, x, y, _) = region("inner", *inner_types)
    inner = b.finish([b.emit("add", i, b.scalar(1, I32)), y, b.emit("tanh", b.emit("add", x, y))])
    b, (x,) = region("double", x_type)
    double = b.finish([b.emit("add", x, x), x])
    b, (x,) = region("minus", x_type)
    minus = b.finish([b.emit("neg", x), b.emit("neg", x)])
    outer_types = (COUNT, x_type, COUNT)
    b, (i, x, n) = region("outer", *outer_types)
    zero = b.scalar(0, I32)
    _, a, c = control(b, "while", [zero, x, b.emit("relu", x), i], condition=below(*inner_types), body=inner)
    odd = b.emit("less", i, b.scalar(2, I32))
    c, d = control(b, "if", [odd, c], then=double, **{"else": minus})
    outer = b.finish([b.emit("add", i, b.scalar(1, I32)), b.emit("add", b.emit("mul", a, d), c)])
    b, (x, n) = region("then", x_type, COUNT)
    i, y = control(b, "while", [b.scalar(0, I32), x, n], condition=below(*outer_types), body=outer)
    then = b.finish([y, i])
    b, (x, n) = region("else", x_type, COUNT)
    otherwise = b.finish([x, n])
    b, (x, n) = region("nested", x_type, COUNT)
    positive = b.emit("less", b.scalar(0, I32), n)
    y, i = control(b, "if", [positive, x, n], then=then, **{"else": otherwise})
    return b.finish([b.emit("add", y, x), i, positive])


GRAPHS = {"loop": loop(), "many channels": loop(16), "nested": nested()}


def arguments(graph: Graph, count: int) -> list[Any]:
    x = RNG.standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    return [x, np.array(count, np.int32)]


@pytest.mark.parametrize("name", GRAPHS)
def test_text_reads_back(name: str) -> None:
    text = str(GRAPHS[name])
    assert str(netc.parse_graph(text)) == text


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", GRAPHS)
def test_interpreter_loops_and_code_agree(name: str, threads: int) -> None:
    graph = GRAPHS[name]
    module = lower(optimize(graph, pipelines.INFERENCE, host_target()), host_target(), threads)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    with netc.compile(graph, threads=threads) as program:
        for count in (0, 1, 4):
            given = arguments(graph, count)
            wanted = evaluate(graph, given)
            for got, again, expected in zip(program(*given), run_module(module, given), wanted, strict=True):
                np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
                np.testing.assert_allclose(again, expected, rtol=2e-5, atol=2e-5)


def test_counts_are_exact() -> None:
    """Each iteration runs once, also where a body is longer than a function of the code may be."""
    graph = loop(layers=3)
    with netc.compile(graph, threads=2) as program:
        for count in (0, 1, 1000):
            assert program(*arguments(graph, count))[2] == max(count, 0)


def test_long_bodies_stay_in_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "PART", 2)
    graph = GRAPHS["nested"]
    given = arguments(graph, 3)
    with netc.compile(graph, threads=2) as program:
        for got, expected in zip(program(*given), evaluate(graph, given), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_profiles_of_loops_have_no_negative_times() -> None:
    graph = GRAPHS["nested"]
    with netc.compile(graph, threads=2) as program:
        assert min(program.profile(*arguments(graph, 0))) >= 0
        assert min(program.profile(*arguments(graph, 5))) >= 0


@pytest.mark.parametrize("name", ["loop", "nested"])
def test_missing_barriers_are_found(name: str) -> None:
    graph = loop(32) if name == "loop" else GRAPHS[name]
    module = lower(optimize(graph, pipelines.INFERENCE, host_target()), host_target(), 2)
    barriers = [n for n, call in enumerate(module.calls) if call.barrier]
    assert name == "nested" or barriers
    for n in barriers:
        calls = tuple(replace(call, barrier=call.barrier and m != n) for m, call in enumerate(module.calls))
        with pytest.raises(InternalError, match="without a barrier"):
            verify_module(replace(module, calls=calls))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block(0, 0, 0, Slot(Memory.ARENA, 0), False), "lacks calls"),
        (Block(0, 0, 2, Slot(Memory.ARENA, 0), True), "lacks calls"),
        (Block(0, 0, 900, Slot(Memory.ARENA, 0), False), "lacks calls"),
        (Block(1, 1, 2, Slot(Memory.ARENA, 1 << 40), False), "ends outside its region"),
        (Block(1, 1, 2, Slot(Memory.INPUT, 0), False), "is not in the arena"),
    ],
)
def test_wrong_blocks_are_found(block: Block, message: str) -> None:
    module = lower(optimize(GRAPHS["loop"], pipelines.INFERENCE, host_target()), host_target(), 2)
    with pytest.raises(InternalError, match=message):
        verify_module(replace(module, blocks=(block,)))


def test_crossing_blocks_are_found() -> None:
    module = lower(optimize(GRAPHS["loop"], pipelines.INFERENCE, host_target()), host_target(), 2)
    (own,) = module.blocks
    with pytest.raises(InternalError, match="blocks cross"):
        verify_module(replace(module, blocks=(own, Block(own.body - 1, own.body - 1, own.end - 1, own.when, False))))


def test_an_endless_loop_of_constants_compiles() -> None:
    """It would never end if it were computed while the network is compiled."""
    b, (x,) = region("same", COUNT)
    body = b.finish([b.emit("add", x, b.scalar(0, I32))])
    b, (x,) = region("true", COUNT)
    condition = b.finish([b.emit("less", x, b.scalar(1, I32))])
    b = GraphBuilder("endless")
    given = b.input("x", COUNT)
    (y,) = control(b, "while", [b.scalar(0, I32)], condition=condition, body=body)
    netc.compile(b.finish([b.emit("add", y, given)])).close()


def test_types_that_do_not_fit() -> None:
    b, (x, n) = region("g", TensorType(F32, (3,)), COUNT)
    one, (y,) = region("one", TensorType(F32, (3,)))
    same = one.finish([y])
    other, (y,) = region("other", TensorType(F32, (3,)))
    vector = other.finish([other.emit("concat", y, y, axis=0)])
    truth = b.emit("less", n, n)
    with pytest.raises(NetcError, match=r"if: @other must return \(f32\[3\]\), not \(f32\[6\]\)"):
        control(b, "if", [truth, x], then=same, **{"else": vector})
    with pytest.raises(NetcError, match="a condition is one truth value, not i32"):
        control(b, "if", [n, x], then=same, **{"else": same})
    with pytest.raises(NetcError, match=r"while: @other must return \(f32\[3\]\)"):
        control(b, "while", [x], condition=vector, body=vector)
    weights, (y,) = region("weights", TensorType(F32, (3,)))
    held = weights.finish([weights.emit("add", y, weights.emit("param", shape=(3,), name="w"))])
    with pytest.raises(NetcError, match="@weights can't hold parameters"):
        control(b, "if", [truth, x], then=same, **{"else": held})


def test_gradients_are_refused() -> None:
    with pytest.raises(NetcError, match="while can't be differentiated: which operations run"):
        netc.passes.differentiate(loop(), of=0, wrt=["x0"])
