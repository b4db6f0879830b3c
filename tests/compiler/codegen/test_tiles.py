"""Tile registers: what is refused, what products mean, and their code."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import assembly, host
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import kernel_text, load_kernel
from netc.compiler.errors import InternalError
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.loops.printer import print_kernel
from netc.compiler.modules.verifier import verify_kernel
from netc.compiler.numerics import bfloat16_bits, from_bfloat16_bits
from netc.runtime import processor


def products(left: str, right: str, rows: int, quads: int, more: int = 0) -> str:
    """A kernel that multiplies rows of pixels, `pitch` apart, with two tiles of weights; `more` tiles come after."""
    width, pitch = 4 * quads, 40
    last = f"""\
  unroll %once = 0 to 1 {{
    tile %more: i32x16[{more},{rows}]
    %more[0] = 0: i32x{16 * rows}
  }}
"""
    line = pitch * (rows - 1) + 2 + width
    return f"""\
kernel @products(%x: {left}[3,{line}], %w: {right}[3,{64 * quads}], %y: out i32[2,{16 * rows}]) {{
  unroll %once = 0 to 1 {{
    tile %sum: i32x16[2,{rows}]
    tile %left: {left}x{width}[1,{rows}]
    tile %right: {right}x64[1,{quads}]
    %sum[0] = 0: i32x{16 * rows}
    %sum[1] = 0: i32x{16 * rows}
    for %i = 0 to 3 {{
      %left[0] = load {left}x{width} %x[%i, 2] rows {rows} pitch {pitch}
      %right[0] = load {right}x{64 * quads} %w[%i, 0]
      %sum[0] = tile_dot4<16>(%left[0], %right[0], %sum[0])
      %right[0] = load {right}x{64 * quads} %w[2 - %i, 0]
      %sum[1] = tile_dot4<16>(%left[0], %right[0], %sum[1])
    }}
    %y[0, 0] = %sum[0]
    %y[1, 0] = %sum[1]
  }}
{last if more else ""}}}
"""


def numbers(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, endpoint=True).astype(dtype)


NUMPY = {"i8": "int8", "u8": "uint8"}


@pytest.mark.parametrize(("left", "right"), [*product(NUMPY, NUMPY)])
@pytest.mark.parametrize(("rows", "quads"), [(16, 16), (14, 9), (2, 1), (7, 16)])
def test_products_are_exact(left: str, right: str, rows: int, quads: int) -> None:
    kernel = parse_kernel(products(left, right, rows, quads))
    assert print_kernel(kernel) == products(left, right, rows, quads)
    verify_kernel(kernel)
    x, w = (numbers(NUMPY[k], b.shape, i) for i, (k, b) in enumerate(zip((left, right), kernel.params, strict=False)))
    pixels = [[x[i, 2 + 40 * r : 2 + 40 * r + 4 * quads] for r in range(rows)] for i in range(3)]
    weights = w.astype(np.int64).reshape(3, quads, 16, 4).transpose(0, 1, 3, 2).reshape(3, 4 * quads, 16)
    inputs = np.array(pixels).astype(np.int64)
    expected = np.stack([(inputs @ weights).sum(0), (inputs @ weights[::-1]).sum(0)]).reshape(2, -1)
    y = np.zeros((2, 16 * rows), np.int32)
    run_kernel(kernel, [x, w, y])
    np.testing.assert_array_equal(y, expected)
    if not host_target().has_byte_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    found = np.zeros_like(y)
    load_kernel(kernel).run([x, w, found])
    np.testing.assert_array_equal(found, expected)


def narrow_products(rows: int, words: int) -> str:
    """A kernel that multiplies one tile of bfloat16 by another and adds that to a third one."""
    return f"""\
kernel @products(%x: i16[{40 * rows}], %w: i16[{32 * words}], %c: f32[{16 * rows}], %y: out f32[{16 * rows}]) {{
  unroll %once = 0 to 1 {{
    tile %sum: f32x16[1,{rows}]
    tile %left: i16x{2 * words}[1,{rows}]
    tile %right: i16x32[1,{words}]
    %sum[0] = load f32x{16 * rows} %c[0]
    %left[0] = load i16x{2 * words} %x[1] rows {rows} pitch 40
    %right[0] = load i16x{32 * words} %w[0]
    %sum[0] = tile_dot2_bfloat16<16>(%left[0], %right[0], %sum[0])
    %y[0] = %sum[0]
  }}
}}
"""


@pytest.mark.parametrize("scale", [1.0, 1e-19, 1e19])
@pytest.mark.parametrize(("rows", "words"), [(16, 16), (14, 9), (2, 1)])
def test_products_of_bfloat16_are_what_they_mean(rows: int, words: int, scale: float) -> None:
    """To the bit: order of sums, numbers below the normal range, infinities."""
    kernel = parse_kernel(narrow_products(rows, words))
    assert print_kernel(kernel) == narrow_products(rows, words)
    verify_kernel(kernel)
    rng = np.random.default_rng(rows)
    numbers = [
        rng.standard_normal(b.shape[0]) * s for b, s in zip(kernel.params, (scale, scale, scale**2), strict=False)
    ]
    x, w, c = (n.astype(np.float32) for n in numbers)
    if scale == 1:
        x[2], x[-39] = np.inf, np.nan
    bits = [bfloat16_bits(x), bfloat16_bits(w)]
    expected = np.zeros(16 * rows, np.float32)
    run_kernel(kernel, [*bits, c, expected])
    pairs = [from_bfloat16_bits(b).astype(np.float64) for b in bits]
    left = np.stack([pairs[0][1 + 40 * r : 1 + 40 * r + 2 * words] for r in range(rows)])
    right = pairs[1].reshape(words, 16, 2).transpose(0, 2, 1).reshape(2 * words, 16)
    if scale == 1:
        np.testing.assert_allclose(expected.reshape(rows, 16), left @ right + c.reshape(rows, 16), rtol=1e-4, atol=1e-5)
    if not host_target().has_bfloat16_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    found = np.zeros_like(expected)
    load_kernel(kernel).run([*bits, c, found])
    np.testing.assert_array_equal(found, expected)


def test_the_code_of_tiles() -> None:
    target = find_target("sapphirerapids")
    assert target is not None
    assert target.has_byte_tiles
    text = kernel_text(parse_kernel(products("u8", "i8", 14, 9)), target)
    code = assembly(text, target)
    wanted = ("ldtilecfg", "tilezero", "tileloadd", "tdpbusd", "tilestored", "tilerelease")
    assert [code.count("\t" + word) for word in wanted] == [1, 2, 3, 2, 2, 1]
    assert assembly(kernel_text(parse_kernel(narrow_products(14, 9)), target), target).count("\ttdpbf16ps") == 1


@pytest.mark.parametrize(("more", "times"), [(2, 1), (8, 2)])
def test_registers_get_their_shapes_once_if_all_tiles_fit(more: int, times: int) -> None:
    target = find_target("sapphirerapids")
    assert target is not None
    text = kernel_text(parse_kernel(products("i8", "i8", 14, 9, more)), target)
    assert text.count("call void @llvm.x86.ldtilecfg") == times
    assert text.count("call void @llvm.x86.tilerelease") == 1


FILLED = "tile %t: i8x64[2,4]\n tile %s: i32x16[2,4]\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("tile %t: i8x64[1,17]", "has no tiles of 1 to 16 rows"),
        ("tile %t: i8x68[1,4]", "has no tiles"),
        ("tile %t: i8x6[1,4]", "has no tiles"),
        ("tile %t: i8x64[4]", "has no tiles"),
        ("tile %t: i8x64[9,4]", "there are 9 tiles"),
        ("tile %t: i8x64[5,4]\n for %i = 0 to 2 {\n tile %u: i8x64[4,4]\n }", "there are 9 tiles"),
        (FILLED + "%t[0] = load i8x64 %x[0] rows 4 pitch 65", "0 to 258 lies outside 0 to 255"),
        (FILLED + "%t[2] = load i8x256 %x[0]", "2 to 2 lies outside 0 to 1"),
        (FILLED + "%t[0] = load i8x64 %x[0] rows 3 pitch 64", "the rows don't fit the tile"),
        (FILLED + "%t[0] = load i8x128 %x[0]", "holds 256 lanes, not 128"),
        (FILLED + "%t[0] = load i8x32 %x[0] rows 8 pitch 32", "the rows don't fit the tile"),
        (FILLED + "%t[0] = 1: i8x256", "filled with zeros, or from memory"),
        (FILLED + "%t[0] = %t[1]", "tiles are loaded, or sums of products"),
        (FILLED + "%v = %t[0]", "neither multiplied nor stored"),
        (FILLED + "%s[0] = add(%s[0], %s[1])", "neither multiplied nor stored"),
        (FILLED + "%s[0] = tile_dot4<16>(%t[0], %t[1], %s[0])", "operands don't fit"),
        ("tile %t: i8x16[1,4]\n" + FILLED.replace("%t", "%u") + "%s[0] = tile_dot4<16>(%t[0], %u[0], %s[1])", "itself"),
        (
            "tile %t: i8x16[1,4]\n tile %u: i8x64[1,4]\n tile %s: i32x32[1,2]\n"
            "%s[0] = tile_dot4<16>(%t[0], %u[0], %s[0])",
            "has no tiles",
        ),
        (FILLED + "%s[0] = tile_dot2_bfloat16<16>(%t[0], %t[1], %s[0])", "operands don't fit"),
        (
            "tile %t: i16x32[1,4]\n tile %u: i16x32[1,16]\n tile %s: i32x16[1,4]\n"
            "%s[0] = tile_dot2_bfloat16<16>(%t[0], %u[0], %s[0])",
            "operands don't fit",
        ),
        ("%v = tile_dot4<16>(load i8x16 %x[0], load i8x64 %x[0], 0: i32x64)", "products are those of tiles"),
    ],
)
def test_faults_are_found(body: str, message: str) -> None:
    kernel = parse_kernel("kernel @k(%x: i8[256], %y: out i32[64]) {\n " + body + "\n}\n")
    with pytest.raises(InternalError) as caught:
        verify_kernel(kernel)
    assert message in str(caught.value)


def test_a_refused_permission_is_a_machine_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (host, processor):
        monkeypatch.setattr(module, "tiles_are_permitted", lambda: False)
    target = host.host_target.__wrapped__()
    assert not target.has_byte_tiles
    assert not target.has_bfloat16_tiles
    assert "+amx" not in target.features
    monkeypatch.setattr(processor, "features", lambda: frozenset({"amx_tile", "avx2"}))
    assert processor.missing_features(("amx-tile", "avx2")) == ("amx-tile",)
    rapids = find_target("sapphirerapids")
    assert rapids is not None
    assert "amx-int8" in processor.needed_features(rapids)
    assert "amx-int8" not in processor.needed_features(replace(rapids, extensions=()))
