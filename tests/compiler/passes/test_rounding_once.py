"""Moves of quantized numbers that were written as moves of floats between roundings are moves of integers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from netc.compiler.graph import Graph, evaluate, parse_graph
from netc.compiler.passes.rounding_once import with_rounding_once
from netc.compiler.types import DType


def drawn(graph: Graph) -> list[np.ndarray]:
    """Every number of small integers, and some more."""
    random = np.random.default_rng(0)
    found = []
    for value in graph.inputs:
        dtype = value.type.dtype.numpy
        if value.type.dtype is DType.F32:
            found.append(random.standard_normal(value.type.shape).astype(dtype))
        else:
            limits = np.iinfo(dtype)
            found.append(random.integers(limits.min, limits.max + 1, value.type.shape).astype(dtype))
    return found


def check(text: str) -> Counter[str]:
    """The operators after the rewrite, which gives the same bytes."""
    graph = parse_graph(text)
    found = with_rounding_once(graph)
    assert str(parse_graph(str(found))) == str(found)
    inputs = drawn(graph)
    with np.errstate(over="ignore"):
        results = evaluate(graph, inputs, {}), evaluate(found, inputs, {})
    for expected, got in zip(*results, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    return Counter(op.name for op in found.operations)


@pytest.mark.parametrize("rounding", ["quantize", "quantize_even"])
@pytest.mark.parametrize(
    ("dtype", "grid"), [("u8", "0.1:129"), ("i8", "0.003:-7"), ("i16", "0.0007"), ("u8", "1e-30"), ("u8", "1e30:255")]
)
def test_moves_are_of_integers(rounding: str, dtype: str, grid: str) -> None:
    names = check(
        f"""graph @g(%x: {dtype}[16,64]<{grid}>, %y: {dtype}[16,64]<{grid}>) -> ({dtype}[8,16,8]<{grid}>) {{
          %0 = dequantize(%x) {{x = <{grid}>}} : f32[16,64]
          %1 = dequantize(%y) {{x = <{grid}>}} : f32[16,64]
          %2 = concat(%0, %1) {{axis = 1}} : f32[16,128]
          %3 = slice(%2) {{begin = [0,32], size = [16,64]}} : f32[16,64]
          %4 = reshape(%3) {{shape = [16,8,8]}} : f32[16,8,8]
          %5 = transpose(%4) {{permutation = [1,0,2]}} : f32[8,16,8]
          %6 = {rounding}(%5) {{dtype = "{dtype}", y = <{grid}>}} : {dtype}[8,16,8]<{grid}>
          return %6
        }}"""
    )
    assert names == Counter(["concat", "slice", "reshape", "transpose"])


def test_floats_stay_for_other_readers() -> None:
    names = check(
        """graph @g(%x: u8[4,6]<0.1:9>) -> (u8[6,4]<0.1:9>, f32[6,4]) {
          %0 = dequantize(%x) {x = <0.1:9>} : f32[4,6]
          %1 = transpose(%0) {permutation = [1,0]} : f32[6,4]
          %2 = quantize_even(%1) {dtype = "u8", y = <0.1:9>} : u8[6,4]<0.1:9>
          %3 = exp(%1) : f32[6,4]
          return %2, %3
        }"""
    )
    assert names == Counter({"dequantize": 1, "transpose": 2, "exp": 1})


@pytest.mark.parametrize(
    ("first", "between", "last"),
    [
        ("u8[4,6]<0.1:9>", "transpose(%0) {permutation = [1,0]} : f32[6,4]", "u8[6,4]<0.1:8>"),
        ("u8[4,6]<0.1:9>", "transpose(%0) {permutation = [1,0]} : f32[6,4]", "u8[6,4]<0.2:9>"),
        ("u8[4,6]<0.1:9>", "transpose(%0) {permutation = [1,0]} : f32[6,4]", "i8[6,4]<0.1:9>"),
        ("u8[4,6]<0.1:9>", "pad(%0) {padding = [[0,1],[0,0]], value = 1.0} : f32[5,6]", "u8[5,6]<0.1:9>"),
        (
            "u8[4,6]<0.1:9>",
            "space_to_batch_nd(%0) {block_shape = [5], padding = [[0,4]], value = 1.0} : f32[20,2]",
            "u8[20,2]<0.1:9>",
        ),
        ("u8[4,6]<0.1:9>", "neg(%0) : f32[4,6]", "u8[4,6]<0.1:9>"),
        ("u8[4,6]<3e38:9>", "transpose(%0) {permutation = [1,0]} : f32[6,4]", "u8[6,4]<3e38:9>"),
        ("i16[4,6]<1e-45>", "reshape(%0) {shape = [24]} : f32[24]", "i16[24]<1e-45:1>"),
    ],
)
def test_other_numbers_are_rounded(first: str, between: str, last: str) -> None:
    """Other grids, numbers that are no moves' results, and grids whose numbers floats don't hold."""
    grid, dtype = first[first.index("<") :], last[: last.index("[")]
    names = check(
        f"""graph @g(%x: {first}) -> ({last}) {{
          %0 = dequantize(%x) {{x = {grid}}} : f32[4,6]
          %1 = {between}
          %2 = quantize_even(%1) {{dtype = "{dtype}", y = {last[last.index("<") :]}}} : {last}
          return %2
        }}"""
    )
    assert names["quantize_even"] == 1


def test_bytes_on_other_grids_are_rounded_ahead_of_what_moves_or_picks_them() -> None:
    names = check(
        """graph @g(%x: u8[2,6,6,3]<0.1:9>, %y: i8[2,5,5,4]<0.3:-2>) -> (u8[2,4,4,7]<0.15:100>) {
          %0 = dequantize(%x) {x = <0.1:9>} : f32[2,6,6,3]
          %1 = dequantize(%y) {x = <0.3:-2>} : f32[2,5,5,4]
          %2 = max_pool(%0) {size = [3,3], strides = [1,1], padding = "valid"} : f32[2,4,4,3]
          %3 = max_pool(%1) {size = [2,2], strides = [1,1], padding = "valid"} : f32[2,4,4,4]
          %4 = concat(%2, %3) {axis = 3} : f32[2,4,4,7]
          %5 = quantize_even(%4) {dtype = "u8", y = <0.15:100>} : u8[2,4,4,7]<0.15:100>
          return %5
        }"""
    )
    assert names == Counter({"dequantize": 2, "quantize_even": 2, "max_pool": 2, "concat": 1})


@pytest.mark.parametrize("readers", ["floats", "few"])
def test_rounding_stays_behind_where_that_is_less(readers: str) -> None:
    """Floats that others read are made anyway; of many numbers few are kept."""
    shape = "u8[4,6]" if readers == "floats" else "u8[64,6]"
    more, kind = ("%1", "f32[4,6]") if readers == "floats" else ("%2", "u8[4,6]<0.2:9>")
    graph = parse_graph(
        f"""graph @g(%x: {shape}<0.1:9>) -> (u8[4,6]<0.2:9>, {kind}) {{
          %0 = dequantize(%x) {{x = <0.1:9>}} : f32{shape[2:]}
          %1 = slice(%0) {{begin = [0,0], size = [4,6]}} : f32[4,6]
          %2 = quantize_even(%1) {{dtype = "u8", y = <0.2:9>}} : u8[4,6]<0.2:9>
          return %2, {more}
        }}"""
    )
    assert with_rounding_once(graph) is graph
