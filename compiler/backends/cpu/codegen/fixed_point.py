"""Fixed-point multiplication with two roundings: the instructions that machines have for it, or 64-bit products.

Both roundings become one: with e = -shift and y = floor((x * m + 2^30) / 2^31), the result is
floor((y + 2^(e-1) - n) / 2^e), where n is 1 for negative y and else 0. That is
floor((x * m + 2^30 + 2^(e+30) - n * 2^31) / 2^(e+31)). The product's sign may stand for that of y: where they differ
(y = 0, -2^30 <= x * m < 0), the result is 0 either way. Where halves go up, n is 0 for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....targets.target import DotProduct
from ....types import DType
from .conversion import convert
from .emission import Emission
from .text import LLVMType, Value, constant, literal, llvm_type, mask

_BEFORE_HALF = math.nextafter(0.5, 0.0)


def fixed_mul(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """The node `FixedMul`: i32 operands with the same number of lanes."""
    lanes = x.type.lanes
    if emitter.target.has_high_products and lanes % 4 == 0:
        return _by_high_products(emitter, x, multiplier, shift, up)
    if emitter.target.dot_product is DotProduct.WIDENED and lanes == 4:
        return _by_extended_products(emitter, x, multiplier, shift, up)
    if lanes == 1 and emitter.target.pointer_bits == 32:
        return _by_narrow_shifts(emitter, x, multiplier, shift, up)
    if lanes < 4 or lanes % 2:
        return _by_wide_products(emitter, x, multiplier, shift, up)
    return _by_halves(emitter, x, multiplier, shift, up)


def high_product(emitter: Emission, x: Value, y: Value, addend: Value) -> Value:
    """The node `HighProduct`: Arm has an instruction for all but the doubling, which LLVM knows by this sum."""
    out, kind = emitter.out, x.type
    wide = llvm_type(DType.I64, kind.lanes)
    doubled = out.call(kind.text, f"llvm.sadd.sat.{kind.suffix}", (kind.text, x.name), (kind.text, x.name))
    a, b = (out.emit(f"sext {kind.text} {v} to {wide.text}") for v in (doubled, y.name))
    upper = out.emit(f"shl {wide.text} {out.emit(f'zext {addend} to {wide.text}')}, {constant(32, wide)}")
    start = out.emit(f"or {wide.text} {upper}, {constant(1 << 31, wide)}")
    total = emitter.arithmetic("add", wide, emitter.arithmetic("mul", wide, a, b), start)
    high = emitter.arithmetic("shr", wide, total, constant(32, wide))
    return Value(kind, out.emit(f"trunc {wide.text} {high} to {kind.text}"))


def upper_product(emitter: Emission, x: Value, y: Value, addend: Value) -> Value:
    """The node `UpperProduct`; products of lanes with even and with odd numbers apart, as in `_by_halves`."""
    out, kind, lanes = emitter.out, x.type, x.type.lanes
    if lanes < 4 or lanes % 2:
        wide = llvm_type(DType.I64, lanes)
        a, b = (out.emit(f"zext {v} to {wide.text}") for v in (x, y))
        total = emitter.arithmetic("add", wide, emitter.arithmetic("mul", wide, a, b), constant(1 << 31, wide))
        upper = out.emit(f"lshr {wide.text} {total}, {constant(32, wide)}")
        high = out.emit(f"trunc {wide.text} {upper} to {kind.text}")
        return Value(kind, emitter.arithmetic("add", kind, high, addend.name))
    wide = llvm_type(DType.I64, lanes // 2)
    sides = zip(*(_unsigned_halves(emitter, wide, v) for v in (x, y, addend)), strict=True)
    totals = []
    for a, b, high in sides:
        depth = out.depth_of(high)
        start = out.pure(depth, f"shl {wide.text} {high}, {constant(32, wide)}")
        start = out.pure(depth, f"or {wide.text} {start}, {constant(1 << 31, wide)}")
        totals.append(emitter.arithmetic("add", wide, emitter.arithmetic("mul", wide, a, b), start))
    even, odd = (out.emit(f"bitcast {wide.text} {total} to {kind.text}") for total in totals)
    return Value(kind, _in_order(emitter, kind, even, odd, 1))


def _unsigned_halves(emitter: Emission, wide: LLVMType, vector: Value) -> tuple[str, str]:
    """The even and the odd lanes of an i32 vector, zero-extended."""
    pure, depth = emitter.out.pure, emitter.out.depth_of(vector.name)
    pairs = pure(depth, f"bitcast {vector} to {wide.text}")
    even = pure(depth, f"and {wide.text} {pairs}, {constant((1 << 32) - 1, wide)}")
    return even, pure(depth, f"lshr {wide.text} {pairs}, {constant(32, wide)}")


def _in_order(emitter: Emission, kind: LLVMType, even: str, odd: str, half: int) -> str:
    """The lower (0) or upper (1) words of the totals of even and of odd lanes, in the order of the lanes."""
    places = mask(i + half if i % 2 == 0 else kind.lanes + i - 1 + half for i in range(kind.lanes))
    return emitter.out.emit(f"shufflevector {kind.text} {even}, {kind.text} {odd}, {places}")


def real_mul(emitter: Emission, x: Value, factor: Value, *, is_small: bool) -> Value:
    """The node `RealMul`; `is_small`: the factor lies between 0 and 1, so that all results are 32-bit numbers.

    Halves are rounded away from zero by adding the number before 1/2 with the product's sign, which makes whole numbers
    of them, and of nothing below them, as the sum is rounded to even; then the rest is cut off.
    """
    if not emitter.target.has_double:
        return _real_products(emitter, x, factor)
    out, wide, limits = emitter.out, factor.type, (-(1 << 31), (1 << 31) - 1)
    product = out.emit(f"fmul {convert(emitter, x, DType.F64)}, {factor.name}")
    signed = (wide.text, constant(_BEFORE_HALF, wide)), (wide.text, product)
    half = out.call(wide.text, f"llvm.copysign.{wide.suffix}", *signed)
    total = Value(wide, out.emit(f"fadd {wide.text} {product}, {half}"))
    if not is_small:
        total = emitter.pick("fcmp olt", total, constant(float(limits[1]), wide))
        total = emitter.pick("fcmp ogt", total, constant(float(limits[0]), wide))
    if not emitter.target.has_double_vectors:  # LLVM would convert through 64 bits, by a function, for limits behind it
        return convert(emitter, total, DType.I32)
    return Value(x.type, out.emit(f"fptosi {total} to {x.type.text}"))


def _real_products(emitter: Emission, x: Value, factor: Value) -> Value:
    """Without double precision: lane by lane, in integers."""
    out, kind, lanes = emitter.out, x.type, x.type.lanes
    result = "poison"
    for lane in range(lanes):
        a, b = x.name, factor.name
        if lanes > 1:
            a, b = (out.emit(f"extractelement {v}, i64 {lane}") for v in (x, factor))
        bits = out.emit(f"bitcast double {b} to i64")
        product = out.emit(f"call i32 @netc.real_product(i32 {a}, i64 {bits})")
        result = product if lanes == 1 else out.emit(f"insertelement {kind.text} {result}, i32 {product}, i64 {lane}")
    return Value(kind, result)


def _by_wide_products(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """Every operand widened to 64 bits."""
    kind = x.type
    wide = llvm_type(DType.I64, kind.lanes)
    out = emitter.out
    a, b, exponent = (out.pure(out.depth_of(v.name), f"sext {v} to {wide.text}") for v in (x, multiplier, shift))
    power = out.pure(out.depth_of(exponent), f"sub {wide.text} {constant(0, wide)}, {exponent}")
    total = _rounded_product(emitter, wide, a, b, power, up)
    places = out.pure(out.depth_of(exponent), f"sub {wide.text} {constant(31, wide)}, {exponent}")
    shifted = emitter.arithmetic("shr", wide, total, places)
    return Value(kind, out.emit(f"trunc {wide.text} {shifted} to {kind.text}"))


def _by_narrow_shifts(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """32-bit machines: one rounding of a product of 64 bits, of whose upper half the result is a shift.

    What is added before, 2^30 + 2^(e+30), is made of words. The sign of x stands for that of the product, which may be
    0 for a negative x only where the multiplier is: then the result is 0 either way.
    """
    out, kind, wide = emitter.out, x.type, llvm_type(DType.I64)
    pure, depth = out.pure, out.depth
    places = pure(depth, f"sub i32 -1, {shift.name}")
    power = pure(depth, f"shl i32 1, {places}")
    low = pure(depth, f"add i32 {pure(depth, f'shl i32 {power}, 31')}, {1 << 30}")
    high = pure(depth, f"zext i32 {pure(depth, f'lshr i32 {power}, 1')} to i64")
    bias = pure(depth, f"or i64 {pure(depth, f'shl i64 {high}, 32')}, {pure(depth, f'zext i32 {low} to i64')}")
    a, b = (out.emit(f"sext {v} to {wide.text}") for v in (x, multiplier))
    if not up:
        bias = emitter.arithmetic("add", wide, bias, emitter.arithmetic("and", wide, a, constant(-1 << 31, wide)))
    total = emitter.arithmetic("add", wide, bias, emitter.arithmetic("mul", wide, a, b))
    upper = out.emit(f"trunc i64 {emitter.arithmetic('shr', wide, total, constant(32, wide))} to i32")
    return Value(kind, emitter.arithmetic("shr", kind, upper, places))


def _by_halves(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """Lanes with even and with odd numbers apart, as vectors of 64-bit lanes: nothing is moved across lanes.

    x86 multiplies the lower halves of 64-bit lanes. Of the sums only the upper halves matter, because the shift is
    not 0; the odd ones already lie where they belong. Where halves go away from zero, 2^31 is to be subtracted for a
    negative product: that takes 1 from the upper half if the lower one has no 2^31. The sign of x stands for that of
    the product, as in `_by_narrow_shifts`.
    """
    out, kind = emitter.out, x.type
    wide = llvm_type(DType.I64, kind.lanes // 2)
    totals = []
    for half, power in enumerate(_powers(emitter, wide, shift)):
        a, b = (_half(emitter, wide, v, half) for v in (x, multiplier))
        totals.append(_rounded_product(emitter, wide, a, b, power, up=True))
    even, odd = (out.emit(f"bitcast {wide.text} {total} to {kind.text}") for total in totals)
    upper = _in_order(emitter, kind, even, odd, 1)
    if not up:
        lower = _in_order(emitter, kind, even, odd, 0)
        without = emitter.arithmetic("and", kind, x.name, emitter.arithmetic("xor", kind, lower, constant(-1, kind)))
        upper = emitter.arithmetic("add", kind, upper, emitter.arithmetic("shr", kind, without, constant(31, kind)))
    rest = out.pure(out.depth_of(shift.name), f"sub {kind.text} {constant(-1, kind)}, {shift.name}")
    return Value(kind, emitter.arithmetic("shr", kind, upper, rest))


def _half(emitter: Emission, wide: LLVMType, vector: Value, half: int) -> str:
    """The even or odd lanes of an i32 vector, sign-extended.

    That is done beside the product: LLVM knows there alone that it takes one instruction and the product another one.
    """
    out, pure, depth = emitter.out, emitter.out.pure, emitter.out.depth_of(vector.name)
    pairs = pure(depth, f"bitcast {vector} to {wide.text}")
    lower = pure(depth, f"lshr {wide.text} {pairs}, {constant(32, wide)}") if half else pairs
    upper = out.emit(f"shl {wide.text} {lower}, {constant(32, wide)}")
    return out.emit(f"ashr {wide.text} {upper}, {constant(32, wide)}")


def _powers(emitter: Emission, wide: LLVMType, shift: Value) -> tuple[str, str]:
    """Of the even and of the odd lanes of a shift, which is negative: its amount."""
    pure, depth, kind = emitter.out.pure, emitter.out.depth_of(shift.name), shift.type
    amounts = pure(depth, f"sub {kind.text} {constant(0, kind)}, {shift.name}")
    pairs = pure(depth, f"bitcast {kind.text} {amounts} to {wide.text}")
    even = pure(depth, f"and {wide.text} {pairs}, {constant((1 << 32) - 1, wide)}")
    return even, pure(depth, f"lshr {wide.text} {pairs}, {constant(32, wide)}")


def _rounded_product(emitter: Emission, wide: LLVMType, x: str, multiplier: str, power: str, up: bool) -> str:
    """The number whose bits from 31 + power on are the result."""
    pure, depth, t = emitter.out.pure, emitter.out.depth_of(power), wide.text
    half = pure(depth, f"shl {t} {constant(1 << 30, wide)}, {power}")
    bias = pure(depth, f"xor {t} {half}, {constant(1 << 30, wide)}")  # LLVM would add both parts of a sum
    product = emitter.arithmetic("mul", wide, x, multiplier)
    total = emitter.arithmetic("add", wide, product, bias)
    if up:
        return total
    lower = emitter.arithmetic("sub", wide, total, constant(1 << 31, wide))
    negative = emitter.out.emit(f"icmp slt {t} {product}, {constant(0, wide)}")
    bits = llvm_type(DType.BOOL, wide.lanes).text
    return emitter.out.emit(f"select {bits} {negative}, {t} {lower}, {t} {total}")


def _by_high_products(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """Arm: a rounding doubling high product, then a rounding shift, which takes halves up; four lanes at a time."""
    out, kind = emitter.out, x.type
    if kind.lanes > 4:
        half, parts = llvm_type(DType.I32, kind.lanes // 2), []
        for start in (0, half.lanes):
            places = mask(range(start, start + half.lanes))
            a, b, exponent = (
                Value(half, out.emit(f"shufflevector {v}, {kind.text} poison, {places}"))
                for v in (x, multiplier, shift)
            )
            parts.append(_by_high_products(emitter, a, b, exponent, up))
        return Value(kind, out.emit(f"shufflevector {parts[0]}, {parts[1]}, {mask(range(kind.lanes))}"))

    def call(name: str, a: str, b: str) -> str:
        return out.call(kind.text, f"llvm.{name}.v4i32", (kind.text, a), (kind.text, b))

    high = call("aarch64.neon.sqrdmulh", x.name, multiplier.name)
    if not up:
        # No product is the lowest number: the sum needs no saturation, and is one instruction.
        high = emitter.arithmetic("add", kind, high, emitter.arithmetic("shr", kind, high, constant(31, kind)))
    return Value(kind, call("aarch64.neon.srshl", high, shift.name))


def _by_extended_products(emitter: Emission, x: Value, multiplier: Value, shift: Value, up: bool) -> Value:
    """WebAssembly: 64-bit products of 32-bit lanes, but no shifts by different places: a product stands for the second.

    Dividing by 2^e is multiplying by 2^(31 - e) and dividing by 2^31, halves up, as with the multiplier. Where e is
    known it is a shift, and where halves go up, too, both roundings become one.
    """
    kind, exponent = x.type, literal(shift.name)
    if exponent is not None and up:
        rounding = (1 << 30) + (1 << (30 - int(exponent)))
        upper = _upper_halves(emitter, _extended_products(emitter, x, multiplier, rounding))
        return Value(kind, emitter.arithmetic("shr", kind, upper, constant(-1 - int(exponent), kind)))
    high = _high_product(emitter, x, multiplier)
    if not up:
        high = Value(kind, emitter.arithmetic("add", kind, high.name, _sign(emitter, x)))
    if exponent is None:
        return _high_product(emitter, high, _power_of_two(emitter, shift))
    twice = emitter.arithmetic("shr", kind, high.name, constant(-1 - int(exponent), kind))
    rounded = emitter.arithmetic("add", kind, twice, constant(1, kind))
    return Value(kind, emitter.arithmetic("shr", kind, rounded, constant(1, kind)))


def _power_of_two(emitter: Emission, shift: Value) -> Value:
    """2^(31 + shift), by the exponent of a float: lanes can't be shifted by different places."""
    kind, single = shift.type, llvm_type(DType.F32, shift.type.lanes)
    depth, pure = emitter.out.depth_of(shift.name), emitter.out.pure
    exponent = pure(depth, f"add {shift}, {constant(31 + 127, kind)}")
    bits = pure(depth, f"shl {kind.text} {exponent}, {constant(23, kind)}")
    power = pure(depth, f"bitcast {kind.text} {bits} to {single.text}")
    return Value(kind, pure(depth, f"fptosi {single.text} {power} to {kind.text}"))


def _sign(emitter: Emission, x: Value) -> str:
    return emitter.arithmetic("shr", x.type, x.name, constant(31, x.type))


def _high_product(emitter: Emission, x: Value, y: Value) -> Value:
    """floor((x * y + 2^30) / 2^31) of four lanes."""
    wide = llvm_type(DType.I64, 2)
    totals = _extended_products(emitter, x, y, 1 << 30)
    doubled = [emitter.out.emit(f"shl {wide.text} {total}, {constant(1, wide)}") for total in totals]
    return Value(x.type, _upper_halves(emitter, doubled))


def _extended_products(emitter: Emission, x: Value, y: Value, addend: int) -> list[str]:
    """Products and an addend in 64 bits: x * y + addend of the first two lanes, and of the last two."""
    emit, kind = emitter.out.emit, x.type
    wide = llvm_type(DType.I64, 2)
    rounding = _held(emitter, Value(wide, constant(addend, wide)))
    sides = [_held(emitter, side) for side in (x, y)]
    totals = []
    for start in (0, 2):
        factors = []
        for side in sides:  # not hoisted: LLVM makes one instruction of extensions and product if they lie together
            half = emit(f"shufflevector {side}, {kind.text} poison, {mask((start, start + 1))}")
            factors.append(emit(f"sext <2 x i32> {half} to {wide.text}"))
        product = emitter.arithmetic("mul", wide, *factors)
        totals.append(emitter.arithmetic("add", wide, product, rounding.name))
    return totals


def _held(emitter: Emission, value: Value) -> Value:
    """A constant as a variable: LLVM would extend it before the product, and write its 16 bytes at every use."""
    if value.name[0] == "%":
        return value
    t = value.type.text
    return Value(value.type, emitter.out.pure(0, f'call {t} asm "", "=r,0"({value})'))


def _upper_halves(emitter: Emission, halves: Sequence[str]) -> str:
    """The upper 32 bits of four lanes of 64."""
    kind = llvm_type(DType.I32, 4)
    first, last = (emitter.out.emit(f"bitcast <2 x i64> {half} to {kind.text}") for half in halves)
    return emitter.out.emit(f"shufflevector {kind.text} {first}, {kind.text} {last}, {mask((1, 3, 5, 7))}")
