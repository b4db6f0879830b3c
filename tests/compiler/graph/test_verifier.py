"""The verifier finds every broken invariant, names the operation and shows the graph with it marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from netc.compiler.errors import InternalError
from netc.compiler.graph import Graph, Operation, Value, parse_graph, verify
from netc.compiler.graph.algorithm import Algorithm
from netc.compiler.graph.registry import lookup
from netc.compiler.graph.verifier import Sound
from netc.compiler.types import parse_type

SOUND = """\
graph @g(%x: f32[2], %y: f32[2]) -> (f32[2]) {
  %w = param : f32[2]
  %0 = add(%x, %w) : f32[2]
  %1 = clamp(%0) {low = 0, high = 1} : f32[2]
  %2 = fused(%a = %1, %b = %y) {
    %0 = mul(%a, %b) : f32[2]
    %1 = relu(%0) : f32[2]
    return %1
  } : f32[2]
  return %2
}
"""

Break = Callable[[Graph], Graph]


def change(place: int, **fields: object) -> Break:
    """Change fields of one operation, and keep its results."""

    def apply(graph: Graph) -> Graph:
        operations = list(graph.operations)
        operations[place] = replace(operations[place], **fields)
        return replace(graph, operations=tuple(operations))

    return apply


def swap(graph: Graph) -> Graph:
    a, b, *rest = graph.operations
    return replace(graph, operations=(b, a, *rest))


def rename(graph: Graph) -> Graph:
    return replace(graph, inputs=(*graph.inputs, Value(parse_type("f32[2]"), "w")))


def twice(graph: Graph) -> Graph:
    return replace(graph, operations=(*graph.operations, graph.operations[-1]))


def body(graph: Graph, **fields: object) -> Graph:
    inner = graph.operations[-1].body
    assert inner is not None
    return change(3, body=replace(inner, **fields))(graph)


def retyped(graph: Graph) -> Graph:
    operations = list(graph.operations)
    operations[1] = replace(operations[1], results=(Value(parse_type("f32[3]")),))
    return replace(graph, operations=tuple(operations[:2]), outputs=operations[1].results)


def nameless_param(graph: Graph) -> Graph:
    op = graph.operations[0]
    new = replace(op, results=(Value(op.result.type),))
    return replace(graph, operations=(new,), outputs=new.results)


def laid_out_output(graph: Graph) -> Graph:
    x = graph.inputs[0]
    result = Value(parse_type("f32[2]{1:1}"))
    relayout = Operation(lookup("relayout"), (x,), {}, (result,))
    return replace(graph, operations=(relayout,), outputs=(result,))


def param_in_body(graph: Graph) -> Graph:
    return body(graph, operations=(graph.operations[0], *(graph.operations[-1].body or graph).operations))


BROKEN: dict[str, tuple[Break, str]] = {
    "order": (swap, "add: operand 1 is not defined before its use"),
    "name": (rename, "param: the name `w` is given twice"),
    "twice": (twice, "fused: a value of type f32[2] is defined twice"),
    "output": (lambda g: replace(g, operations=g.operations[:-1]), "output 0 is not defined"),
    "arity": (lambda g: change(1, operands=(*g.operations[1].operands, g.inputs[0]))(g), "add: add takes a, b, not 3"),
    "attribute": (change(2, attributes={"low": 0, "high": 1, "top": 2}), "clamp: clamp has no attribute `top`"),
    "incomplete": (change(0, attributes={"shape": (2,)}), "param: attributes are missing: "),
    "kind": (change(2, attributes={"low": "a", "high": 1}), "clamp: attribute `low` of clamp can't be 'a'"),
    "type": (retyped, "add: the type should be (f32[2]), but is (f32[3])"),
    "tile": (change(1, algorithm=Algorithm("winograd", (4,))), "add: tiles of 1 dimensions don't cover f32[2]"),
    "algorithm": (
        change(3, algorithm=Algorithm("winograd")),
        "fused: an algorithm belongs to an operation of the body, not to the whole",
    ),
    "bodiless": (change(3, body=None), "fused: a fused operation, and no other, has a body"),
    "body input": (lambda g: body(g, inputs=()), "fused: the body takes (), but the operands are (f32[2], f32[2])"),
    "body output": (lambda g: body(g, outputs=()), "fused: the body gives (), but the results are (f32[2])"),
    "body order": (lambda g: body(g, operations=()), "fused: output 0 is not defined"),
    "body param": (param_in_body, "a body can't hold param"),
    "nameless": (nameless_param, "param: a parameter needs a name"),
    "layout": (laid_out_output, "output 0 must be dense, but is f32[2]{1:1}"),
    "nameless input": (lambda g: replace(g, inputs=(*g.inputs, Value(parse_type("f32[2]")))), "an input has no name"),
}


def test_sound() -> None:
    verify(parse_graph(SOUND))


@pytest.mark.parametrize("kind", BROKEN)
def test_broken(kind: str) -> None:
    breaks, message = BROKEN[kind]
    with pytest.raises(InternalError) as caught:
        verify(breaks(parse_graph(SOUND)))
    first, *text = str(caught.value).splitlines()
    assert message in first
    assert text[0].startswith("graph @g(")


def test_the_operation_is_marked_in_the_text() -> None:
    with pytest.raises(InternalError) as caught:
        verify(retyped(parse_graph(SOUND)))
    lines = str(caught.value).splitlines()
    marked = next(i for i, line in enumerate(lines) if line.startswith("  // ^ "))
    assert "= add(" in lines[marked - 1]


def test_sound_operations_are_remembered() -> None:
    graph = parse_graph(SOUND)
    sound = Sound()
    verify(graph, sound=sound)
    assert sound.operations >= set(graph.operations)
