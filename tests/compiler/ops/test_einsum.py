"""The layer einsum means what NumPy's einsum means."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.graph import Graph, evaluate
from netc.frontend import load_text

SIZES = dict(zip("abcdhkq", (2, 3, 4, 5, 2, 4, 3), strict=True))
EQUATIONS = (
    *("ab,bc->ac", "ab,cb->ac", "ba,bc->ac", "ab,bc->ca", "abc,cd->abd", "abc,abd->cd", "ab,b->a", "b,ab->a"),
    *(
        "bhqd,bhkd->bhqk",
        "bhqk,bhkd->bqhd",
        "bqhd,bkhd->bhqk",
        "abcd,cdhk->abhk",
        "acb,dbc->ad",
        "ab,ab->",
        "ab,ab->ab",
    ),
    *("a,b->ab", "a,b->ba", "ab,c->ac", "ab,bc->b", "a,a->", "abc,b->abc", ",ab->ba", "abc->cb", "ab->", "abc->abc"),
)


def graph_of(equation: str, *shapes: str) -> Graph:
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = ", ".join(f"{name}: f32[{shape}]" for name, shape in zip(names, shapes, strict=True))
    return load_text(f'net n({inputs}) {{ return einsum("{equation}", {", ".join(names)}) }}\n')


@pytest.mark.parametrize("equation", EQUATIONS)
def test_it_is_that_of_numpy(equation: str) -> None:
    groups = equation.split("->")[0].split(",")
    graph = graph_of(equation, *(", ".join(str(SIZES[label]) for label in group) for group in groups))
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    wanted = np.einsum(equation, *operands)
    (result,) = evaluate(graph, operands)
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_scores_of_attention_are_one_product() -> None:
    assert [op.name for op in graph_of("bhqd,bhkd->bhqk", "1,2,3,4", "1,2,5,4").operations] == ["matmul"]


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ab,bc", ("2,3", "3,4"), 'can\'t read the equation "ab,bc"'),
        ("a...,ab->b", ("2,3", "2,4"), "can't read the equation"),
        ("ab,bc->ac", ("2,3",), "is about 2 tensors, but is given 1 tensor"),
        ("ab->a", ("2,3", "3,4"), "is about 1 tensors, but is given 2 tensors"),
        ("aa,ab->b", ("2,2", "2,4"), "`a` occurs twice in `aa`"),
        ("ab,bc->aa", ("2,3", "3,4"), "`a` occurs twice in `aa`"),
        ("ab,bc->ad", ("2,3", "3,4"), "`d` of the result is no dimension of an operand"),
        ("abc,bc->a", ("2,3", "3,4"), r"`abc` names 3 dimensions, but f32\[2,3\] has others"),
        ("ab,bc->ac", ("2,3", "5,4"), r"`b` is both 3 and 5 in f32\[2,3\], f32\[5,4\]"),
    ],
)
def test_equations_that_do_not_fit(equation: str, shapes: tuple[str, ...], message: str) -> None:
    with pytest.raises(netc.NetcError, match=message):
        graph_of(equation, *shapes)
