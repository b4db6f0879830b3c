"""The nodes for quantized networks: fixed-point products, 8-bit dot products and interleaved vectors."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import assembly
from netc.compiler.backends.cpu.codegen.jit import kernel_text, load_kernel
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.loops.printer import print_kernel
from netc.compiler.modules.verifier import verify_kernel
from netc.compiler.ops.quantized import fixed_point as fp
from netc.runtime.host import runs_here

TARGETS = [name for name in ("host", "x86-64", "x86-64-v3") if runs_here(find_target(name))]
LIMITS = (-(1 << 31), (1 << 31) - 1)


def both(text: str, arrays: list[Any], cpu: str) -> tuple[Any, Any]:
    """The last array after the kernel has run, interpreted and compiled."""
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert print_kernel(kernel) == text
    expected, found = [a.copy() for a in arrays], [a.copy() for a in arrays]
    run_kernel(kernel, expected)
    load_kernel(kernel, find_target(cpu)).run(found, 0, 1)
    return expected[-1], found[-1]


def fixed_mul(lanes: int, count: int, name: str = "fixed_mul") -> str:
    i32 = f"i32x{lanes}" if lanes > 1 else "i32"
    shape = f"i32[{count}]"
    return f"""\
kernel @scale(%x: {shape}, %m: {shape}, %s: {shape}, %y: out {shape}) {{
  for %i = 0 to {count // lanes} {{
    %y[%i * {lanes}] = {name}(load {i32} %x[%i * {lanes}], load {i32} %m[%i * {lanes}], load {i32} %s[%i * {lanes}])
  }}
}}
""".replace("%i * 1]", "%i]")


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 8, 16])
def test_fixed_point_products(lanes: int, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    count = 4800
    x = rng.integers(*LIMITS, count, endpoint=True) >> rng.integers(0, 32, count)
    x[:6] = (*LIMITS, -1, 0, 1, -2)
    multiplier = rng.integers(1 << 30, 1 << 31, count)
    multiplier[rng.random(count) < 0.3] = 1 << 30  # powers of two: many exact halves
    multiplier[rng.random(count) < 0.1] = rng.integers(0, 1 << 30)
    shift = -rng.integers(1, 32, count)
    arrays = [a.astype(np.int32) for a in (x, multiplier, shift, np.zeros(count))]
    interpreted, compiled = both(fixed_mul(lanes, count), arrays, cpu)
    meant = fp.multiply(*(a.astype(np.int64) for a in arrays[:3]))
    np.testing.assert_array_equal(interpreted, meant)
    np.testing.assert_array_equal(compiled, meant)


SHARED_FACTORS = """\
kernel @scale(%x: i32[64], %m: i32[16], %s: i32[16], %y: out i32[80]) {
  register %r: i32x16[1]
  %f = load i32x16 %m[0]
  %e = load i32x16 %s[0]
  %r[0] = 0: i32x16
  for %i = 0 to 4 {
    %r[0] = add(%r[0], load i32x16 %x[%i * 16])
  }
  %y[64] = fixed_mul(%r[0], %f, %e)
  for %i = 0 to 4 {
    %y[%i * 16] = fixed_mul(load i32x16 %x[%i * 16], %f, %e)
  }
}
"""


def test_what_depends_on_the_factors_alone_stands_before_the_loop() -> None:
    """Also what a loop has left is an operand."""
    rng = np.random.default_rng(0)
    x, shift = rng.integers(-(1 << 20), 1 << 20, 64), -rng.integers(1, 32, 16)
    arrays = [a.astype(np.int32) for a in (x, rng.integers(1 << 30, 1 << 31, 16), shift, np.zeros(80))]
    np.testing.assert_array_equal(*both(SHARED_FACTORS, arrays, "host"))
    text = kernel_text(parse_kernel(SHARED_FACTORS), find_target("x86-64-v4"))
    loop = text[text.rindex("\nloop") :]
    loop = loop[: loop.index("br i1")]
    assert "mul <8 x i64>" in loop
    assert "ashr <8 x i64> splat" not in loop
    assert "shl <8 x i64> splat" not in loop


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_halves_can_go_up(lanes: int, cpu: str) -> None:
    x = np.arange(-4800, 4800, dtype=np.int32)
    multiplier, shift = np.full(9600, 1 << 30, np.int32), np.tile(np.array([-1, -2, -3, -4], np.int32), 2400)
    interpreted, compiled = both(fixed_mul(lanes, 9600, "fixed_mul_up"), [x, multiplier, shift, np.zeros_like(x)], cpu)
    once = np.floor(x / 2 + 0.5)
    np.testing.assert_array_equal(interpreted, np.floor(once * 2.0**shift + 0.5))
    np.testing.assert_array_equal(compiled, interpreted)


def dot4(left: str, right: str, lanes: int, quads: int) -> str:
    vector, i32 = 4 * lanes, f"i32x{lanes}" if lanes > 1 else "i32"
    width = 4 * quads
    return f"""\
kernel @dot(%a: {left}[{width}], %b: {right}[{vector}], %c: out i32[{lanes}]) {{
  %c[0] = dot4(load {left}x{width} %a[0], load {right}x{vector} %b[0], load {i32} %c[0])
}}
"""


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize(("lanes", "quads"), [(n, q) for n in (1, 2, 4, 8, 16) for q in (1, 2, 4, 8, 16) if q <= n])
@pytest.mark.parametrize(("left", "right"), [("u8", "i8"), ("i8", "i8"), ("u8", "u8")])
def test_dot_products(left: str, right: str, lanes: int, quads: int, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    range_ = {"i8": (-128, 128, np.int8), "u8": (0, 256, np.uint8)}
    a, b = (
        rng.integers(low, high, 4 * n).astype(kind)
        for (low, high, kind), n in ((range_[left], quads), (range_[right], lanes))
    )
    c = rng.integers(*LIMITS, lanes, endpoint=True).astype(np.int32)
    interpreted, compiled = both(dot4(left, right, lanes, quads), [a, b, c], cpu)
    products = np.tile(a.astype(np.int32), lanes // quads).reshape(-1, 4) * b.astype(np.int32).reshape(-1, 4)
    np.testing.assert_array_equal(interpreted, c + products.sum(axis=1, dtype=np.int32))
    np.testing.assert_array_equal(compiled, interpreted)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("count", [2, 4])
def test_interleaved_vectors(count: int, lanes: int, cpu: str) -> None:
    u8 = f"u8x{lanes}" if lanes > 1 else "u8"
    parts = ", ".join(f"load {u8} %x[{j}, 0]" for j in range(count))
    text = f"""\
kernel @zip(%x: u8[{count},{lanes}], %y: out u8[{count * lanes}]) {{
  %y[0] = interleave({parts})
}}
"""
    x = np.arange(count * lanes, dtype=np.uint8).reshape(count, lanes)
    interpreted, compiled = both(text, [x, np.zeros(count * lanes, np.uint8)], cpu)
    np.testing.assert_array_equal(interpreted, x.T.reshape(-1))
    np.testing.assert_array_equal(compiled, interpreted)


@pytest.mark.parametrize("cpu", ["cortex-a76", "apple-m1"])
def test_arm_has_instructions_for_it(cpu: str) -> None:
    target = find_target(cpu)
    code = assembly(kernel_text(parse_kernel(fixed_mul(4, 16)), target), target)
    assert "sqrdmulh" in code
    assert "srshl" in code
    code = assembly(kernel_text(parse_kernel(dot4("i8", "i8", 4, quads=4)), target), target)
    assert "sdot" in code


REAL_MUL = """kernel @real(%x: i32[N], %f: f64[N], %y: out i32[N]) {
  for %i = 0 to N {
    %y[%i] = real_mul(load i32 %x[%i], load f64 %f[%i])
  }
}
"""


def test_factors_without_double_precision_give_the_same_integers() -> None:
    random = np.random.default_rng(3)
    count = 200_000
    x = random.integers(*LIMITS, count, np.int32, endpoint=True) >> random.integers(0, 31, count, np.int32)
    factor = random.uniform(0.5, 1.0, count) * 2.0 ** random.integers(-40, 40, count)
    halves = (random.integers(0, 1 << 15, count) + 0.5) / np.maximum(np.abs(x.astype(np.int64)), 1)
    factor[::2] = halves[::2]  # products next to halves, on both sides of them
    factor[::4] = np.nextafter(halves[::4], random.choice([0.0, np.inf], halves[::4].size))
    x[:6], factor[:6] = [LIMITS[0], LIMITS[1], 0, -1, 1, 1], [1.0, 1.0, 2.0, 2.0**31, 2.0**31, 0.0]
    kernel = parse_kernel(REAL_MUL.replace("N", str(count)))
    compiled = [np.zeros_like(x) for _ in range(2)]
    for has_double, y in zip((True, False), compiled, strict=True):
        load_kernel(kernel, replace(find_target("host"), has_double=has_double)).run([x, factor, y])
    np.testing.assert_array_equal(*compiled)
    assert (compiled[0] != 0).mean() > 0.5


@pytest.mark.parametrize("lanes", [1, 8, 16])
@pytest.mark.parametrize(
    ("word", "factor"),
    [
        *(("real_mul", factor) for factor in (1.0, -1.0, 0.5, -0.25, 0.3, 2.0**-31, 1.5, 0.0)),
        *(("real_mul_small", factor) for factor in (1.0, math.nextafter(1.0, 0.0), 0.5, 0.3, 2.0**-31, 0.0)),
    ],
)
def test_known_factors_round_halves_away_from_zero(word: str, factor: float, lanes: int) -> None:
    x = np.array([*LIMITS, LIMITS[1] - 1, 0, *range(-9, 10), *(5 * np.arange(-20, 21))], np.int32)
    x = np.pad(x, (0, -x.size % 16))
    y = np.zeros_like(x)
    text = f"""kernel @real(%x: i32[{x.size}], %y: out i32[{x.size}]) {{
  for %i = 0 to {x.size // lanes} {{
    %y[%i * {lanes}] = {word}(load i32x{lanes} %x[%i * {lanes}], {factor}: f64x{lanes})
  }}
}}
""".replace("x1 ", " ").replace("x1)", ")")
    load_kernel(parse_kernel(text)).run([x, y])
    exact = x * np.float64(factor)
    whole = np.trunc(exact) + np.where(np.abs(exact - np.trunc(exact)) >= 0.5, np.sign(exact), 0)
    np.testing.assert_array_equal(y, np.clip(whole, *LIMITS).astype(np.int32))


FLIPPED = """\
kernel @flipped(%x: i8[4], %w: i8[64], %y: out i32[16]) {
  %a = bitcast<u8>(xor(load i8x4 %x[0], -128: i8x4))
  %y[0] = dot4(%a, load i8x64 %w[0], 0: i32x16)
}
"""


def test_bits_are_flipped_after_four_bytes_are_spread() -> None:
    """Then memory gives the four bytes to all lanes, by the instruction that flips them."""
    machine_code = assembly(kernel_text(parse_kernel(FLIPPED), target := find_target("znver4")), target)
    assert "{1to16}" in machine_code
    assert "vpbroadcastd\t%xmm" not in machine_code


def table_kernel(lanes: int, dtype: str) -> str:
    return f"""\
kernel @table(%x: u8[256], %t: {dtype}[256], %y: out {dtype}[256]) {{
  for %i = 0 to {256 // lanes} {{
    %y[%i * {lanes}] = pick(load {dtype}x256 %t[0], load u8x{lanes} %x[%i * {lanes}])
  }}
}}
"""


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("dtype", ["i8", "u8"])
@pytest.mark.parametrize("lanes", [2, 8, 16, 32, 64])
def test_bytes_from_tables(lanes: int, dtype: str, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    table = rng.integers(0, 256, 256).astype(np.uint8).view("i1" if dtype == "i8" else "u1")
    places = rng.permutation(256).astype(np.uint8)
    interpreted, compiled = both(table_kernel(lanes, dtype), [places, table, np.zeros_like(table)], cpu)
    np.testing.assert_array_equal(interpreted, table[places])
    np.testing.assert_array_equal(compiled, table[places])


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_words_from_tables(lanes: int, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    table, places = rng.integers(-(1 << 31), 1 << 31, 256).astype(np.int32), rng.permutation(256).astype(np.uint8)
    text = table_kernel(lanes, "i32").replace("u8x1 ", "u8 ")
    interpreted, compiled = both(text, [places, table, np.zeros_like(table)], cpu)
    np.testing.assert_array_equal(interpreted, table[places])
    np.testing.assert_array_equal(compiled, table[places])


def test_words_are_chosen_from_registers_where_gathering_takes_longer() -> None:
    for cpu, gathers, chosen in (("icelake-server", 1, 0), ("znver4", 0, 8)):
        code = assembly(kernel_text(parse_kernel(table_kernel(16, "i32")), target := find_target(cpu)), target)
        assert code.count("\tvpgatherdd\t") == gathers
        assert len(re.findall(r"\tvperm[it]2[dp]s?\t", code)) == chosen


def test_tables_are_looked_up_in_parts_of_sixteen() -> None:
    text = assembly(kernel_text(parse_kernel(table_kernel(32, "i8")), target := find_target("haswell")), target)
    assert text.count("\tvpshufb\t") == 16
    assert text.count("\tvpblendvb\t") == 15


def narrow_kernel(lanes: int, dtype: str, zero: int, low: int, high: int) -> str:
    i32 = f"i32x{lanes}"
    scaled = f"add(fixed_mul(load {i32} %x[%i * {lanes}], 1518500250: {i32}, -3: {i32}), {zero}: {i32})"
    return f"""\
kernel @narrow(%x: i32[4800], %y: out {dtype}[4800]) {{
  for %i = 0 to {4800 // lanes} {{
    %b = cast<{dtype}>(max(min({scaled}, {high}: {i32}), {low}: {i32}))
    %y[%i * {lanes}] = %b
  }}
}}
"""


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize(
    ("dtype", "zero", "low", "high"),
    [("i8", -128, -128, 127), ("i8", 5, -20, 90), ("u8", 131, 0, 255), ("u8", 0, 7, 200), ("i8", 30000, -128, 127)],
)
@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_sums_become_bytes(lanes: int, dtype: str, zero: int, low: int, high: int, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    x = rng.integers(*LIMITS, 4800, endpoint=True) >> rng.integers(0, 32, 4800)
    x[:4] = (*LIMITS, -1, 0)
    sums = fp.multiply(x, 1518500250, -3) + zero
    expected = np.clip(sums, low, high)
    y = np.zeros(4800, "i1" if dtype == "i8" else "u1")
    interpreted, compiled = both(narrow_kernel(lanes, dtype, zero, low, high), [x.astype(np.int32), y], cpu)
    np.testing.assert_array_equal(interpreted, expected)
    np.testing.assert_array_equal(compiled, expected)


def test_zero_points_are_added_to_packed_words() -> None:
    kernel = parse_kernel(narrow_kernel(16, "i8", -128, -128, 127))
    text = assembly(kernel_text(kernel, target := find_target("haswell")), target)
    assert "\tvpackssdw\t" in text
    assert "\tvpaddsw\t" in text
    assert "\tvpminsd\t" not in text


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("dtype", ["i8", "u8"])
@pytest.mark.parametrize("factor", [0.25, 1e-7, 300.0])
@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_floats_become_bytes(lanes: int, factor: float, dtype: str, cpu: str) -> None:
    """Bytes times a factor are known to fit 32 bits, any floats aren't."""
    text = f"""\
kernel @narrow(%x: i8[4800], %f: f32[4800], %y: out {dtype}[2,4800]) {{
  for %i = 0 to {4800 // lanes} {{
    %b = cast<f32>(cast<i32>(load i8x{lanes} %x[%i * {lanes}]))
    %y[0, %i * {lanes}] = cast<{dtype}>(fma(%b, {factor}: f32x{lanes}, 0.5: f32x{lanes}))
    %y[1, %i * {lanes}] = cast<{dtype}>(load f32x{lanes} %f[%i * {lanes}])
  }}
}}
"""
    rng = np.random.default_rng(lanes)
    x = rng.integers(-128, 127, 4800, endpoint=True).astype(np.int8)
    f = (rng.standard_normal(4800) * 10.0 ** rng.integers(-1, 12, 4800)).astype(np.float32)
    f[:6] = (np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), -0.5)
    y = np.zeros((2, 4800), "i1" if dtype == "i8" else "u1")
    interpreted, compiled = both(text, [x, f, y], cpu)
    np.testing.assert_array_equal(compiled, interpreted)
    exact = np.trunc(x.astype(np.float32) * np.float32(factor) + np.float32(0.5))
    np.testing.assert_array_equal(compiled[0], np.clip(exact, np.iinfo(y.dtype).min, np.iinfo(y.dtype).max))


@pytest.mark.parametrize("lanes", [8, 16])
def test_packing_saturates_floats(lanes: int) -> None:
    kernel = parse_kernel(f"""\
kernel @narrow(%f: f32[{lanes}], %y: out u8[{lanes}]) {{
  %y[0] = cast<u8>(load f32x{lanes} %f[0])
}}
""")
    text = assembly(kernel_text(kernel, target := find_target("haswell")), target)
    assert "\tvpackssdw\t" in text
    assert "\tvpackuswb\t" in text
    assert "\tvcmp" not in text


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 16, 64])
def test_upper_halves_of_unsigned_products(lanes: int, cpu: str) -> None:
    rng = np.random.default_rng(lanes)
    x, y, addend = rng.integers(*LIMITS, (3, 4800), endpoint=True)
    x[:4], y[:4] = (0, -1, -1, 1), (-1, -1, 1 << 30, 1 << 30)
    arrays = [a.astype(np.int32) for a in (x, y, addend, np.zeros(4800))]
    interpreted, compiled = both(fixed_mul(lanes, 4800, "upper_product"), arrays, cpu)
    words = [int(a) % (1 << 32) for a in x], [int(b) % (1 << 32) for b in y]
    exact = [((a * b + (1 << 31)) >> 32) + int(c) for a, b, c in zip(*words, addend, strict=True)]
    np.testing.assert_array_equal(interpreted, np.array(exact, np.int64).astype(np.int32))
    np.testing.assert_array_equal(compiled, interpreted)
