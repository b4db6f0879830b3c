"""Every registered operator is complete, named by convention, and described."""

from __future__ import annotations

import re

import pytest

from netc.compiler.graph import GraphBuilder, parse_graph
from netc.compiler.graph.ir import Operator
from netc.compiler.graph.registry import lookup, operators
from netc.compiler.ops.quantized.base import Part, QuantizedOperator
from netc.compiler.types import parse_type


def _is_function(operator: Operator) -> bool:
    """True for elementwise operators that take one tensor."""
    is_quantized = isinstance(operator, Part | QuantizedOperator)
    return operator.operands == ("x",) and operator.elementwise and not is_quantized


@pytest.mark.parametrize("name", operators())
def test_operator_is_complete(name: str) -> None:
    operator = lookup(name)
    assert operator.name == name
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert type(operator).__doc__, "an operator needs a docstring"
    assert operator.doc.endswith((".", ":")), operator.doc
    for method in ("infer", "evaluate"):
        assert getattr(type(operator), method) is not getattr(Operator, method)
    places = [o.strip("*?") for o in operator.operands]
    assert len(set(places)) == len(places)
    for key, spec in operator.attributes.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
        assert spec.doc


@pytest.mark.parametrize("name", [n for n, o in operators().items() if o.commutative])
def test_commutative_operators_take_two_operands(name: str) -> None:
    assert len(lookup(name).operands) == 2


@pytest.mark.parametrize("name", [n for n, o in operators().items() if _is_function(o)])
def test_elementwise_operators_print_and_parse(name: str) -> None:
    examples: dict[object, object] = {str: "f64", tuple: (2, 3), bool: True, "shared": (0,)}
    needed = {key: spec for key, spec in lookup(name).attributes.items() if key != "activation"}
    given = {key: examples.get(key) or examples.get(spec.kind, 0.5) for key, spec in needed.items()}
    dtype = "i1" if name.startswith("logical") else "i32" if name.startswith("bitwise") else "f32"
    b = GraphBuilder("g")
    x = b.input("x", parse_type(f"{dtype}[2,3]"))
    text = str(b.finish([b.emit(name, x, **given)]))
    assert str(parse_graph(text)) == text
