"""IF, WHILE and STABLEHLO_COMPOSITE with LiteRT's numbers, also where their subgraphs use variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.writing import written

from .calls import RNG, check, handle, initialization, read
from .small_models import Model

F32, I32 = np.float32, np.int32
SHAPE = (2, 3)
Part = tuple[Model, Any, Any]


def numbers(shape: tuple[int, ...] = SHAPE) -> Any:
    return RNG.standard_normal(shape, F32)


def count(n: int) -> Any:
    return np.array(n, I32)


def tensors(m: Model, *kinds: tuple[Any, Any]) -> list[int]:
    return [m.tensor(f"t{len(m.tensors)}", shape, dtype) for shape, dtype in kinds]


def unary(name: str, shape: tuple[int, ...] = SHAPE, **quantization: Any) -> Part:
    m = Model()
    dtype = np.int8 if quantization else F32
    x, y = (m.tensor(n, shape, dtype, **quantization) for n in "xy")
    m.operator(name, (x,), (y,))
    return m, (x,), (y,)


def below(*more: tuple[Any, Any]) -> Part:
    m = Model()
    values = tensors(m, ((), I32), ((), I32), *more)
    truth = m.tensor("truth", (), np.bool_)
    m.operator("LESS", values[:2], (truth,), ("LessOptions", {}))
    return m, values, (truth,)


def counted(m: Model, i: int) -> int:
    """I + 1."""
    (more,) = tensors(m, ((), I32))
    m.operator("ADD", (i, m.constant("one", count(1))), (more,), ("AddOptions", {}))
    return more


def loop(known: bool) -> bytes:
    """While i < n: x = tanh(w x). The weight goes through the loop as it is."""
    kinds = (SHAPE, F32), ((3, 3), F32)
    m = Model()
    (x,) = tensors(m, (SHAPE, F32))
    n = m.constant("n", count(5)) if known else tensors(m, ((), I32))[0]
    results = tensors(m, ((), I32), ((), I32), *kinds)
    given = (m.constant("zero", count(0)), n, x, m.constant("w", np.linspace(-1, 1, 9, dtype=F32).reshape(3, 3)))
    m.operator("WHILE", given, results, ("WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2}))
    body = Model()
    i, last, a, w = tensors(body, ((), I32), ((), I32), *kinds)
    f, t = tensors(body, (SHAPE, F32), (SHAPE, F32))
    body.operator("FULLY_CONNECTED", (a, w), (f,), ("FullyConnectedOptions", {}))
    body.operator("TANH", (f,), (t,))
    parts: list[Part] = [below(*kinds), (body, (i, last, a, w), (counted(body, i), last, t, w))]
    return m.data((x,) if known else (x, n), (results[2], results[0]), parts)


def condition(then: Part, other: Part, constant: bool | None = None, **quantization: Any) -> bytes:
    m = Model()
    dtype = np.int8 if quantization else F32
    x, y = (m.tensor(n, SHAPE, dtype, **quantization) for n in "xy")
    p = m.tensor("p", (), np.bool_) if constant is None else m.constant("p", np.array(constant))
    m.operator("IF", (p, x), (y,), ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2}))
    return m.data((x, p) if constant is None else (x,), (y,), [then, other])


def accumulating(handed: bool) -> bytes:
    """While i < n: sum += x, x = sum / 2; the variable goes in as a tensor, or is found by its name."""
    m = Model()
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    x, n, i, last, y, read_after = tensors(m, (SHAPE, F32), *[((), I32)] * 3, (SHAPE, F32), (SHAPE, F32))
    place = handle(m, "sum")
    after = m.resource("after") if handed else place
    more = [[place], [after]] if handed else [[], []]
    given, results = (m.constant("zero", count(0)), n, x, *more[0]), (i, last, y, *more[1])
    m.operator("WHILE", given, results, ("WhileOptions", {"CondSubgraphIndex": 2, "BodySubgraphIndex": 3}))
    m.operator("READ_VARIABLE", (after,), (read_after,))
    body = Model()
    values = tensors(body, ((), I32), ((), I32), (SHAPE, F32))
    values += [body.resource("v")] if handed else []
    inside = values[3] if handed else handle(body, "sum")
    held, new, half = tensors(body, *[(SHAPE, F32)] * 3)
    body.operator("READ_VARIABLE", (inside,), (held,))
    body.operator("ADD", (held, values[2]), (new,), ("AddOptions", {}))
    body.operator("ASSIGN_VARIABLE", (inside, new), ())
    body.operator("MUL", (new, body.constant("half", np.array(0.5, F32))), (half,), ("MulOptions", {}))
    outputs = (counted(body, values[0]), values[1], half, *values[3:])
    asked = below((SHAPE, F32))
    if handed:
        asked[1].append(asked[0].resource("v"))
    return m.data((x, n), (read_after, y), [initialization(sum=numbers()), asked, (body, values, outputs)])


def listing(step: int = 1) -> bytes:
    """While i < n: list[i] = tanh(x), as TensorFlow's converter writes TensorListSetItem; x = list[i] / 2."""
    kinds = (SHAPE, F32), ((4, *SHAPE), F32)
    m = Model()
    x, items = tensors(m, *kinds)
    results = tensors(m, ((), I32), ((), I32), *kinds)
    given = (m.constant("zero", count(0)), m.constant("n", count(4)), x, items)
    m.operator("WHILE", given, results, ("WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2}))
    b = Model()
    i, last, a, old = tensors(b, ((), I32), ((), I32), *kinds)
    more, t, half = counted(b, i), *tensors(b, (SHAPE, F32), (SHAPE, F32))
    behind = b.tensor("behind", (), I32)
    b.operator("ADD", (i, b.constant("step", count(step))), (behind,), ("AddOptions", {}))
    parts = []
    for n, (number, rest) in enumerate(((i, (-1, -1)), (behind, (0, 0)))):
        row, vector, part = b.tensor(f"row{n}", (1,), I32), b.tensor(f"v{n}", (3,), I32), b.tensor(f"p{n}", None, F32)
        b.operator("RESHAPE", (number, b.constant(f"one{n}", np.array([1], I32))), (row,))
        b.operator("CONCATENATION", (row, b.constant(f"rest{n}", np.array(rest, I32))), (vector,))
        other = b.constant(f"other{n}", np.full(3, -n, I32))
        b.operator("SLICE", (old, vector, other) if n else (old, other, vector), (part,), ("SliceOptions", {}))
        parts.append(part)
    b.operator("TANH", (a,), (t,))
    one, new = b.tensor("element", (1, *SHAPE), F32), b.tensor("new", None, F32)
    b.operator("EXPAND_DIMS", (t, b.constant("axis", count(0))), (one,), ("ExpandDimsOptions", {}))
    b.operator("CONCATENATION", (parts[0], one, parts[1]), (new,), ("ConcatenationOptions", {"Axis": 0}))
    b.operator("MUL", (t, b.constant("half", np.array(0.5, F32))), (half,), ("MulOptions", {}))
    return m.data((x, items), results[2:], [below(*kinds), (b, (i, last, a, old), (more, last, half, new))])


def assigning() -> bytes:
    """One branch assigns the variable, the other one reads it."""
    then, x, y = unary("EXP")
    then.operator("ASSIGN_VARIABLE", (handle(then, "v"), y[0]), ())
    other = Model()
    a, held, out = tensors(other, *[(SHAPE, F32)] * 3)
    other.operator("READ_VARIABLE", (handle(other, "v"),), (held,))
    other.operator("SUB", (a, held), (out,), ("SubOptions", {}))
    m = Model()
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    given, result, after = tensors(m, *[(SHAPE, F32)] * 3)
    p = m.tensor("p", (), np.bool_)
    m.operator("IF", (p, given), (result,), ("IfOptions", {"ThenSubgraphIndex": 2, "ElseSubgraphIndex": 3}))
    m.operator("READ_VARIABLE", (handle(m, "v"),), (after,))
    parts: list[Part] = [initialization(v=numbers()), (then, x, y), (other, (a,), (out,))]
    return m.data((given, p), (result, after), parts)


def said(graph: Graph) -> str:
    """The text of a graph, which gives it again."""
    return written(graph).text


def names(graph: Graph) -> set[str]:
    return {op.name for op in graph.operations} - {"constant"}


@pytest.mark.parametrize("known", [False, True])
def test_a_loop(known: bool) -> None:
    rows = [[numbers(), *([] if known else [count(n)])] for n in (3, 0, 1)]
    graph = check(loop(known), rows, 1e-6)
    assert names(graph) == {"while"}
    assert "while " in said(graph)


def test_a_list_that_a_loop_writes() -> None:
    assert names(check(listing(), [[numbers(), numbers((4, *SHAPE))] for _ in range(2)], 1e-6)) == {"while"}


def test_a_list_that_grows() -> None:
    with pytest.raises(NetcError, match=r"WHILE .*its subgraph has SLICE"):
        netc.compile(read(listing(2)))


def test_a_condition() -> None:
    rows = [[numbers(), np.array(p)] for p in (True, False, True)]
    graph = check(condition(unary("EXP"), unary("NEG")), rows, 1e-6)
    assert names(graph) == {"if"}
    assert "    x = exp(x)\n  } else {\n" in said(graph)


def test_subgraphs_take_the_shapes_that_they_are_given() -> None:
    data = condition(unary("EXP", (1, 3)), unary("NEG", (3,)))
    check(data, [[numbers(), np.array(p)] for p in (True, False)], 1e-6)


def test_branches_that_return_constants() -> None:
    # LiteRT aborts on a branch that returns a reshaped constant.
    branches = Model(), Model()
    parts: list[Part] = [
        (m, tensors(m, (SHAPE, F32)), (m.constant("c", np.full(SHAPE, 1 + n, F32)),)) for n, m in enumerate(branches)
    ]
    graph = check(condition(*parts), [[numbers(), np.array(p)] for p in (True, False)])
    written_again = read_model(to_tflite(graph))
    assert [op.name for s in written_again.subgraphs for op in s.operators] == ["IF"]


def test_a_condition_on_integers() -> None:
    q = {"scale": 0.5, "zero": 3}
    data = condition(unary("RELU", **q), unary("RELU6", **q), **q)
    said(check(data, [[RNG.integers(-128, 128, SHAPE, np.int8), np.array(p)] for p in (True, False)]))


@pytest.mark.parametrize("holds", [False, True])
def test_a_constant_condition_leaves_one_branch(holds: bool) -> None:
    assert names(check(condition(unary("ABS"), unary("NEG"), holds))) == {"abs" if holds else "neg"}


@pytest.mark.parametrize("handed", [False, True])
def test_a_variable_in_a_loop(handed: bool) -> None:
    said(check(accumulating(handed), [[numbers(), count(n)] for n in (2, 0, 3)]))


def test_a_variable_in_a_condition() -> None:
    said(check(assigning(), [[numbers(), np.array(p)] for p in (False, True, False, True)], 1e-6))


def test_a_composite_is_what_it_is_made_of() -> None:
    m = Model()
    x, y = tensors(m, (SHAPE, F32), (SHAPE, F32))
    options = ("StableHLOCompositeOptions", {"Name": "my.op", "DecompositionSubgraphIndex": 1})
    m.operator("STABLEHLO_COMPOSITE", (x,), (y,), options)
    assert names(read(m.data((x,), (y,), [unary("NEG")]))) == {"neg"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([unary("NEG")], "there is no subgraph 2, only 2"),
        ([unary("NEG"), unary("DENSIFY")], "its subgraph has DENSIFY"),
    ],
)
def test_what_is_refused(parts: list[Part], message: str) -> None:
    m = Model()
    x, y = tensors(m, (SHAPE, F32), (SHAPE, F32))
    p = m.tensor("p", (), np.bool_)
    m.operator("IF", (p, x), (y,), ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2}))
    with pytest.raises(NetcError, match=message):
        netc.compile(read(m.data((x, p), (y,), parts)))


def test_branches_that_give_different_shapes() -> None:
    m = Model()
    x, y = tensors(m, (SHAPE, F32), (None, F32))
    p = m.tensor("p", (), np.bool_)
    longer = Model()
    a, b = tensors(longer, (SHAPE, F32), (None, F32))
    longer.operator("CONCATENATION", (a, a), (b,), ("ConcatenationOptions", {}))
    m.operator("IF", (p, x), (y,), ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2}))
    with pytest.raises(NetcError, match=r"subgraph 2 gives f32\[.*\] as output 0, but the other branch gives f32\["):
        netc.compile(read(m.data((x, p), (y,), [unary("NEG"), (longer, (a,), (b,))])))


def test_subgraphs_that_call_themselves() -> None:
    m = Model()
    x, y = tensors(m, (SHAPE, F32), (SHAPE, F32))
    options = ("StableHLOCompositeOptions", {"Name": "my.op", "DecompositionSubgraphIndex": 0})
    m.operator("STABLEHLO_COMPOSITE", (x,), (y,), options)
    with pytest.raises(NetcError, match="subgraphs call each other more than 16 deep"):
        read(m.data((x,), (y,)))
