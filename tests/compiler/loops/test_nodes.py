"""What a node declares is all that printer, reader, verifier and interpreter need; each has a rule for machine code."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import assembly
from netc.compiler.backends.cpu.codegen.jit import kernel_text, load_kernel
from netc.compiler.backends.cpu.codegen.llvm import emit_kernel
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.loops.buffers import VectorType
from netc.compiler.loops.expressions import Expr, spelling
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.ir import Const, Kernel, Let, Store, Var
from netc.compiler.loops.operations import OPERATIONS, Number, Operation
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.loops.printer import print_expr, print_kernel
from netc.compiler.loops.spelling import SPELLINGS, spelled
from netc.compiler.modules.verifier import verify_kernel
from netc.compiler.types import DType
from netc.runtime.host import runs_here

Array = NDArray[Any]

SAMPLES = {
    "add": "add(%f, %f)", "sub": "sub(%f, 0.5: f32x4)", "mul": "mul(%f, %f)", "div": "div(%f, 3.0: f32x4)",
    "min": "min(%f, 0.5: f32x4)", "max": "max(%f, 0.5: f32x4)",
    "floordiv": "floordiv(%i, 3: i32x4)", "mod": "mod(%i, 3: i32x4)", "and": "and(%i, 6: i32x4)",
    "or": "or(%i, 6: i32x4)", "xor": "xor(%i, 6: i32x4)", "shl": "shl(%i, 2: i32x4)", "shr": "shr(%i, 2: i32x4)",
    "lt": "lt(%f, 0.5: f32x4)", "le": "le(%i, 3: i32x4)", "eq": "eq(%i, 3: i32x4)", "ne": "ne(%i, 3: i32x4)",
    "neg": "neg(%f)", "abs": "abs(%i)", "sqrt": "sqrt(abs(%f))", "floor": "floor(%f)", "exp": "exp(%f)",
    "log": "log(abs(%f))", "tanh": "tanh(%f)", "not": "not(%i)",
    "ceil": "ceil(%f)", "trunc": "trunc(%f)", "round": "round(%f)",
    "expm1": "expm1(%f)", "exp2": "exp2(%f)", "log1p": "log1p(abs(%f))", "log2": "log2(abs(%f))",
    "log10": "log10(abs(%f))", "sinh": "sinh(%f)", "cosh": "cosh(%f)", "asin": "asin(mul(%f, 0.3: f32x4))",
    "acos": "acos(mul(%f, 0.3: f32x4))", "atan": "atan(%f)", "asinh": "asinh(%f)",
    "acosh": "acosh(add(abs(%f), 1.0: f32x4))", "atanh": "atanh(mul(%f, 0.3: f32x4))",
    "fmod": "fmod(%f, 0.7: f32x4)", "atan2": "atan2(%f, 0.5: f32x4)", "pow": "pow(abs(%f), 1.5: f32x4)",
    "fma": "fma(%f, 2.0: f32x4, %f)", "select": "select(lt(%f, 0.0: f32x4), %i, 7: i32x4)",
    "fixed_mul": "fixed_mul(%i, 1431655765: i32x4, -1: i32x4)",
    "fixed_mul_up": "fixed_mul_up(%i, 1431655765: i32x4, -1: i32x4)",
    "dot_all": "dot_all(load i8x16 %b[0], load i8x16 %b[0], load i32 %x[2])",
    "high_product": "high_product(%i, 1431655765: i32x4, -3: i32x4)",
    "upper_product": "upper_product(%i, 1431655765: i32x4, -3: i32x4)",
    "real_mul": "real_mul(%i, 0.625: f64x4)", "real_mul_small": "real_mul_small(%i, 0.625: f64x4)",
    "cast": "cast<i8>(%f)", "bitcast": "bitcast<i32>(%f)", "broadcast": "broadcast<4>(load i32 %x[2])",
    "reduce": "reduce<add>(%f)", "spread": "spread<8, 2, -1, 3>(%f)", "interleave": "interleave(%f, %f)",
    "dot4": "dot4(load i8x16 %b[0], load i8x16 %b[0], %i)",
    "halves": "halves<1>(load i8x4 %b[2])", "dot2": "dot2(load i32 %x[0], load i32 %x[2], load i32 %x[1])",
    "to_bfloat16": "to_bfloat16(%f)", "from_bfloat16": "from_bfloat16(cast<i16>(mul(%i, 2000: i32x4)))",
    "dot2_bfloat16": "dot2_bfloat16(to_bfloat16(spread<8, 2, 1, 0>(%f)), to_bfloat16(spread<8, 1, 0, 3>(%f)), %f)",
    "dot2_words": "dot2_words(cast<i16>(load i8x2 %b[1]), cast<i16>(load i8x8 %b[0]), %i)",
    "join": "join(%i, %i)", "pair_sums": "pair_sums(%i, %i)",
    "add_pairs": "add_pairs(cast<i16>(load i8x8 %b[0]), %i)",
    "within": "within<8>(%f)",
    "pick": "pick(load i8x256 %t[0], bitcast<u8>(load i8x16 %b[0]))",
}  # fmt: skip
"""By its word, a use of each node; %f and %i are f32x4 and i32x4."""


TABLE = np.random.default_rng(0).permutation(np.arange(-128, 128)).astype(np.int8)


def sample(word: str) -> tuple[Expr, Kernel]:
    """A use of a node, and a kernel that stores it."""
    text = "kernel @k(%x: i32[4], %b: i8[16], %t: i8[256]) {\n  %i = load i32x4 %x[0]\n"
    text += "  %f = mul(cast<f32>(%i), 0.3: f32x4)\n"
    kernel = parse_kernel(text + f"  %value = {SAMPLES[word]}\n}}\n")
    value = kernel.body[-1]
    assert isinstance(value, Let)
    out = parse_kernel(f"kernel @k(%y: out {value.value.type.dtype}[{value.value.type.lanes}]) {{\n}}\n").params[0]
    store = Store(out, (Const(0),), Var("value", value.value.type))
    return value.value, Kernel("k", (*kernel.params, out), (*kernel.body, store))


def test_every_node_has_a_sample() -> None:
    assert SAMPLES.keys() == (OPERATIONS.keys() | SPELLINGS.keys()) - {
        "tile_dot4",
        "tile_dot2_bfloat16",
    }  # they are no values: see test_tiles


@pytest.mark.parametrize("word", SAMPLES)
def test_every_node_is_printed_verified_interpreted_and_compiled(word: str) -> None:
    expr, kernel = sample(word)
    assert expr.word == word
    assert spelling(word) is not None
    assert print_expr(expr) == SAMPLES[word]
    assert parse_kernel(print_kernel(kernel)) == kernel
    verify_kernel(kernel)
    y = np.zeros(expr.type.lanes, expr.type.dtype.numpy)
    arrays: list[Any] = [np.array([-5, 0, 3, 8], np.int32), np.arange(-8, 8, dtype=np.int8), TABLE, y]
    expected, found = [a.copy() for a in arrays], [a.copy() for a in arrays]
    run_kernel(kernel, expected)
    load_kernel(kernel, find_target("host")).run(found, 0, 1)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=2e-7)
    assert (expected[-1] != 0).any()


@pytest.mark.parametrize("cpu", ["host", "x86-64-v3", "x86-64"])
@pytest.mark.parametrize("lanes", [1, 2, 32, 64, 128])
def test_bytes_are_picked_from_tables(cpu: str, lanes: int) -> None:
    target = find_target(cpu)
    assert target is not None
    if not runs_here(target):
        pytest.skip(f"this machine doesn't run code for {cpu}")
    kernel = parse_kernel(
        f"kernel @k(%x: u8[{lanes}], %t: i8[256], %y: out i8[{lanes}]) {{\n"
        f"  %y[0] = pick(load i8x256 %t[0], load u8x{lanes} %x[0])\n}}\n".replace("x1 ", " ")
    )
    verify_kernel(kernel)
    x = np.random.default_rng(lanes).integers(0, 256, lanes).astype(np.uint8)
    y = np.zeros(lanes, np.int8)
    load_kernel(kernel, target).run([x, TABLE, y], 0, 1)
    assert np.array_equal(y, TABLE[x])


def bits_of(*numbers: float) -> Array:
    """Bits of single precision, cut to 16."""
    return (np.array(numbers, np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.int16)


@pytest.mark.parametrize("cpu", ["host", "host with quick pairs", "x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_bfloat16_is_the_same_on_every_machine(cpu: str, lanes: int) -> None:
    target = find_target(cpu.split()[0])
    assert target is not None
    if "quick" in cpu:
        target = replace(target, has_slow_bfloat16=False)
    if not runs_here(target):
        pytest.skip(f"this machine doesn't run code for {cpu}")
    n, many = 2 * lanes, f"x{2 * lanes}"
    kernel = parse_kernel(
        f"kernel @k(%x: f32[{n}], %a: i16[2], %c: f32[{lanes}], %bits: out i16[{n}], %sums: out f32[{lanes}]) {{\n"
        f"  %b = to_bfloat16(load f32{many} %x[0])\n  %bits[0] = %b\n"
        f"  %sums[0] = dot2_bfloat16(load i16x2 %a[0], %b, load f32x{lanes} %c[0])\n}}\n".replace("x1 ", " ")
    )
    verify_kernel(kernel)
    special = [0.0, -0.0, np.inf, -np.inf, 1e-39, -1e-39, 3.4e38, 1 + 2**-8, 1 + 3 * 2**-8, -1.1]
    random = np.random.default_rng(lanes)
    for x in (random.standard_normal(n), np.resize(special, n), np.full(n, np.nan)):
        arrays = [x.astype(np.float32), bits_of(1.5, -0.75), random.standard_normal(lanes).astype(np.float32)]
        arrays += [np.zeros(n, np.int16), np.zeros(lanes, np.float32)]
        expected, found = [a.copy() for a in arrays], [a.copy() for a in arrays]
        run_kernel(kernel, expected)
        load_kernel(kernel, target).run(found, 0, 1)
        np.testing.assert_array_equal(found[-2], expected[-2])
        np.testing.assert_array_equal(found[-1], expected[-1])


@pytest.mark.parametrize("cpu", ["host", "x86-64-v4", "x86-64-v3", "x86-64"])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("every", [False, True], ids=["a pair for each sum", "a pair for all"])
def test_pairs_of_words_are_the_same_on_every_machine(cpu: str, lanes: int, every: bool) -> None:
    target = find_target(cpu)
    assert target is not None
    if not runs_here(target):
        pytest.skip(f"this machine doesn't run code for {cpu}")
    pairs = 2 if every else 2 * lanes
    sums = f"i32x{lanes}" if lanes > 1 else "i32"
    kernel = parse_kernel(
        f"kernel @k(%a: i16[{pairs}], %b: i16[{2 * lanes}], %c: i32[{lanes}], %y: out i32[{lanes}]) {{\n"
        f"  %y[0] = dot2_words(load i16x{pairs} %a[0], load i16x{2 * lanes} %b[0], load {sums} %c[0])\n}}\n"
    )
    verify_kernel(kernel)
    random = np.random.default_rng(lanes)
    for low, high in ((-(1 << 15), 1 << 15), (-(1 << 15), 1 - (1 << 15))):
        arrays = [random.integers(low, high, n).astype(np.int16) for n in (pairs, 2 * lanes)]
        arrays += [random.integers(-(1 << 31), 1 << 31, lanes).astype(np.int32), np.zeros(lanes, np.int32)]
        expected, found = [a.copy() for a in arrays], [a.copy() for a in arrays]
        run_kernel(kernel, expected)
        load_kernel(kernel, target).run(found, 0, 1)
        np.testing.assert_array_equal(found[-1], expected[-1])


@pytest.mark.parametrize(("cpu", "words"), [("x86-64-v3", 1), ("x86-64-v2", 2), ("x86-64-v4", 1)])
def test_pairs_of_words_are_one_instruction(cpu: str, words: int) -> None:
    target = find_target(cpu)
    assert target is not None
    kernel = parse_kernel(
        "kernel @k(%a: i16[2], %b: i16[16], %y: out i32[8]) {\n"
        "  %y[0] = dot2_words(load i16x2 %a[0], load i16x16 %b[0], load i32x8 %y[0])\n}\n"
    )
    assert assembly(kernel_text(kernel, target), target).count("pmaddwd\t") == words


@pytest.mark.parametrize(("cpu", "words"), [("znver4", (1, 0)), ("sapphirerapids", (0, 2))])
def test_pairs_of_bfloat16_are_multiplied_by_what_is_quicker(cpu: str, words: tuple[int, int]) -> None:
    target = find_target(cpu)
    assert target is not None
    kernel = parse_kernel(
        "kernel @k(%a: i16[2], %b: i16[32], %y: out f32[16]) {\n"
        "  %y[0] = dot2_bfloat16(load i16x2 %a[0], load i16x32 %b[0], load f32x16 %y[0])\n}\n"
    )
    code = assembly(kernel_text(kernel, target), target)
    assert (code.count("\tvdpbf16ps"), code.count("\tvfmadd")) == words


@pytest.mark.parametrize("word", SAMPLES)
def test_every_node_survives_being_copied(word: str) -> None:
    expr, kernel = sample(word)
    for again in (copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        assert again == kernel
        verify_kernel(again)
    assert copy.copy(expr).type is expr.type


def test_types_are_the_same_object() -> None:
    kind = VectorType(DType.F32, 16)
    assert kind is VectorType(DType.F32, 16)
    assert kind is not VectorType(DType.F32, 8)
    assert pickle.loads(pickle.dumps(kind)) is kind
    with pytest.raises(AttributeError, match="can't be changed"):
        kind.lanes = 8


# ---- a node and operations that netc doesn't have -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Times(Expr):
    """A number of times a float, as another float."""

    value: Expr
    number: int
    goal: DType

    def result(self) -> VectorType:
        return VectorType(self.goal, self.value.type.lanes)

    def fault(self) -> str:
        return "" if self.value.type.dtype.is_float else f"takes a float, not {self.value.type}"

    def meaning(self) -> Callable[..., Number]:
        return lambda value: np.asarray(value, np.float64) * self.number


@pytest.fixture
def times() -> Iterator[None]:
    """`times<3, f64>(%v)`, while a test runs."""
    spelled("times")(Times)
    yield
    del SPELLINGS["times"]


def unary(expression: str, source: str = "f32", goal: str = "f32") -> str:
    """A kernel that stores an expression in `%v`, four lanes of a type."""
    return (
        f"kernel @k(%x: {source}[4], %y: out {goal}[4]) {{\n  %v = load {source}x4 %x[0]\n  %y[0] = {expression}\n}}\n"
    )


def interpreted(text: str, x: Array) -> Array:
    """What a kernel makes of an array, after it has been read, printed and verified."""
    kernel = parse_kernel(text)
    assert print_kernel(kernel) == text
    verify_kernel(kernel)
    y = np.zeros(4, kernel.params[1].dtype.numpy)
    run_kernel(kernel, [x, y])
    return y


@pytest.mark.usefixtures("times")
def test_a_new_node_needs_nothing_else() -> None:
    x = np.array([1, -2, 0.5, 3], np.float32)
    assert interpreted(unary("times<3, f64>(%v)", goal="f64"), x).tolist() == [3, -6, 1.5, 9]
    nested = "cast<f32>(times<2, f64>(add(times<5, f32>(%v), times<7, f32>(%v))))"
    assert interpreted(unary(nested), x).tolist() == [24, -48, 12, 72]


@pytest.mark.usefixtures("times")
@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("times<f64>(%v)", "a times takes a number of number, not `f64`"),
        ("times<3>(%v)", "expected `,`"),
        ("times<3, f64>(%v, %v)", "takes 1 argument(s), not 2"),
        ("tims<3, f64>(%v)", "expected an expression"),
    ],
)
def test_faults_in_the_text_of_a_new_node(expression: str, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        parse_kernel(unary(expression))
    assert message in str(caught.value)


@pytest.mark.usefixtures("times")
def test_a_new_node_is_verified() -> None:
    for expression in ("times<3, i32>(%v)", "times<3, i32>(times<4, i32>(%v))"):
        with pytest.raises(InternalError, match="takes a float, not i32x4"):
            verify_kernel(parse_kernel(unary(expression, "i32", "i32")))
    lost = Times(Var("lost", VectorType(DType.F32, 4)), 3, DType.F32)
    kernel = parse_kernel(unary("%v"))
    y = kernel.params[1]
    with pytest.raises(InternalError, match="no value %lost of type f32x4"):
        verify_kernel(Kernel("k", kernel.params, (*kernel.body, Store(y, (Const(0),), lost))))


@pytest.mark.usefixtures("times")
def test_a_new_node_gives_an_index() -> None:
    text = """\
kernel @k(%x: f64[1], %y: out i64[8]) {
  %n = times<2, i64>(load f64 %x[0])
  %y[mod(%n, 8)] = %n + 1
}
"""
    kernel = parse_kernel(text)
    assert print_kernel(kernel) == text
    verify_kernel(kernel)
    y = np.zeros(8, np.int64)
    run_kernel(kernel, [np.array([5.5]), y])
    assert y.tolist() == [0, 0, 0, 12, 0, 0, 0, 0]


@pytest.mark.usefixtures("times")
def test_code_generation_says_what_it_has_no_rule_for() -> None:
    with pytest.raises(InternalError, match="code generation has no rule for Times"):
        emit_kernel(parse_kernel(unary("times<3, f32>(%v)")), find_target("haswell"))


def test_a_new_operation_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATIONS, "cube", Operation(operands=1, meaning=lambda a: a * a * a, takes="numbers"))
    monkeypatch.setitem(OPERATIONS, "mean", Operation(operands=2, meaning=lambda a, b: (a + b) / 2, combines=True))
    x = np.array([1, -2, 3, 4], np.float32)
    assert interpreted(unary("mean(cube(%v), 2.0: f32x4)"), x).tolist() == [1.5, -3, 14.5, 33]
    assert interpreted(unary("broadcast<4>(reduce<mean>(%v))"), x).tolist() == [1.5] * 4
    with pytest.raises(InternalError, match="cube takes numbers, not i1x4"):
        verify_kernel(parse_kernel(unary("cube(%v)", "i1", "i1")))
    with pytest.raises(InternalError, match="operands differ: f32x4, f32"):
        verify_kernel(parse_kernel(unary("mean(%v, 2.0: f32)")))
    for expression in ("cube(%v)", "mean(%v, %v)"):
        for kind in ("f32", "i32"):
            with pytest.raises(InternalError, match=rf"no rule for (cube|mean) of {kind}"):
                emit_kernel(parse_kernel(unary(expression, kind, kind)), find_target("haswell"))


@dataclass(frozen=True, slots=True)
class Seven(Expr):
    """A node without operands."""

    def result(self) -> VectorType:
        return VectorType(DType.F32, 4)

    def fault(self) -> str:
        return ""

    def meaning(self) -> Callable[..., Number]:
        return lambda: np.full(4, 7)


def test_a_new_node_without_operands() -> None:
    spelled("seven")(Seven)
    try:
        assert interpreted(unary("add(seven(), %v)"), np.arange(4, dtype=np.float32)).tolist() == [7, 8, 9, 10]
        with pytest.raises(NetcError, match="takes 0 argument"):
            parse_kernel(unary("seven(%v)"))
    finally:
        del SPELLINGS["seven"]


@pytest.mark.parametrize(
    "fields",
    [{"a": Expr, "b": list[int]}, {"a": tuple[Expr, ...], "b": Expr}, {"a": tuple[int, ...]}, {"a": Expr | None}],
)
def test_fields_that_have_no_text(fields: dict[str, Any]) -> None:
    node = make_dataclass("Odd", fields.items(), bases=(Expr,), frozen=True, slots=True)
    with pytest.raises(TypeError, match="Odd"):
        spelled("odd")(node)
    assert "odd" not in SPELLINGS


@pytest.mark.parametrize("word", ["add", "fma"])
def test_a_word_stands_for_one_node(word: str) -> None:
    with pytest.raises(TypeError, match=f"the word {word} already"):
        spelled(word)(Seven)
