"""Sums of products by an equation."""

from __future__ import annotations

import string

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.products.einsum import einsum as einsum_layer
from ..node import Node
from ..registry import onnx


@onnx("Einsum")
def einsum(c: Node) -> Value:
    """Any number of tensors, whose dimensions have letters; dots stand for all that have none."""
    terms, result = _terms(c)
    values = []
    for i, term in enumerate(terms):
        value, letters = _diagonal(c, c.value(i), term)
        terms[i] = letters
        values.append(value)
    while len(values) > 1:
        rest = set("".join(terms[2:])) | set(result)
        kept = "".join(dict.fromkeys(letter for letter in terms[0] + terms[1] if letter in rest))
        goal = result if len(values) == 2 else kept
        joined = einsum_layer(c, f"{terms[0]},{terms[1]}->{goal}", values[0], values[1])
        terms, values = [goal, *terms[2:]], [joined, *values[2:]]
    return values[0] if terms[0] == result else einsum_layer(c, f"{terms[0]}->{result}", values[0])


def _terms(c: Node) -> tuple[list[str], str]:
    """The letters of each input and of the result, without dots."""
    equation = str(c.needed("equation")).replace(" ", "")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    letters = set(equation) - set(",->.")
    if len(terms) != c.count or not letters <= set(string.ascii_letters):
        c.unsupported(f"the equation `{equation}` doesn't fit {c.count} inputs")
    spare = [letter for letter in string.ascii_letters if letter not in letters]
    widest = 0
    for i, term in enumerate(terms):
        if "..." in term:
            count = c.type(i).rank - len(term.replace("...", ""))
            widest = max(widest, count)
            terms[i] = term.replace("...", "".join(spare[:32][-count:]) if count > 0 else "")
        if len(terms[i]) != c.type(i).rank:
            c.unsupported(f"`{term}` doesn't fit {c.type(i)}")
    dots = "".join(spare[:32][-widest:]) if widest else ""
    if arrow:
        return terms, result.replace("...", dots)
    once = sorted(letter for letter in letters if given.count(letter) == 1)
    return terms, dots + "".join(once)


def _diagonal(c: Node, x: Value, letters: str) -> tuple[Value, str]:
    """A value of which dimensions with the same letter are one, and its letters."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            size = x.type.shape[first]
            if x.type.shape[second] != size:
                c.unsupported(f"the letter {letter} stands for {size} and {x.type.shape[second]}")
            order = [first, second, *(d for d in range(x.type.rank) if d not in (first, second))]
            turned = c.transpose(x, order)
            flat = c.reshape(turned, (size * size, *turned.type.shape[2:]))
            x = c.emit("gather", flat, c.made(np.arange(size) * (size + 1)), axis=0)
            letters = letter + "".join(letters[d] for d in order[2:])
    return x, letters
