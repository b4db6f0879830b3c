"""Dot products of 8-bit integers: the machine's own instruction, or widening multiplications."""

from __future__ import annotations

from ....loops.ir import Spread
from ....targets.target import DotProduct
from ....types import DType
from .emission import Emission
from .text import LLVMType, Value, constant, conversion, llvm_type, mask

_INTRINSICS: dict[tuple[DotProduct, bool, bool, int], str] = {
    (DotProduct.VNNI, True, False, 16): "llvm.x86.avx512.vpdpbusd.512",
    (DotProduct.VNNI, True, False, 8): "llvm.x86.avx512.vpdpbusd.256",
    (DotProduct.VNNI, True, False, 4): "llvm.x86.avx512.vpdpbusd.128",
    (DotProduct.NEON, False, False, 4): "llvm.aarch64.neon.sdot.v4i32.v16i8",
}
"""By instruction set, whether the left and the right side are unsigned, and the number of sums."""
_PAIRS: dict[tuple[DotProduct, int], str] = {
    (DotProduct.WIDENED, 4): "llvm.wasm.dot",
    (DotProduct.WORDS, 4): "llvm.x86.sse2.pmadd.wd",
    (DotProduct.WORDS, 8): "llvm.x86.avx2.pmadd.wd",
    (DotProduct.WORDS, 16): "llvm.x86.avx512.pmaddw.d.512",
}
"""What adds two products of 16 bits, by instruction set and the number of sums."""
_ADDED_PAIRS: dict[tuple[DotProduct, int], str] = {
    (DotProduct.VNNI, 4): "llvm.x86.avx512.vpdpwssd.128",
    (DotProduct.VNNI, 8): "llvm.x86.avx512.vpdpwssd.256",
    (DotProduct.VNNI, 16): "llvm.x86.avx512.vpdpwssd.512",
}
"""What adds two products of 16 bits to each sum."""


def dot4(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """The node `Dot4`."""
    out, sums = emitter.out, c.type
    if 4 < a.type.lanes < b.type.lanes:
        a = Value(llvm_type(a.type.dtype, b.type.lanes), _every(emitter, a, sums.lanes))
    key = (emitter.target.dot_product, a.type.is_unsigned, b.type.is_unsigned, sums.lanes)
    if key in _INTRINSICS:
        sides = ((b.type.text, _every(emitter, a, sums.lanes)), (b.type.text, b.name))
        if emitter.target.dot_product is DotProduct.NEON:  # the lane of a vector can be the last operand only
            sides = sides[::-1]
        return Value(sums, out.call(sums.text, _INTRINSICS[key], (sums.text, c.name), *sides))
    if sums.lanes < 4 and (*key[:3], 4) in _INTRINSICS and emitter.target.dot_product is DotProduct.VNNI:
        left = a if a.type.lanes == 4 else _first_of(emitter, a, 16)
        return _first_of_four(emitter, dot4(emitter, left, _first_of(emitter, b, 16), _first_of(emitter, c, 4)), c)
    if _has_pairs(emitter, sums):
        return _by_pairs(emitter, a, b, c)
    if emitter.target.dot_product is DotProduct.LANES and (sums.lanes, a.type.lanes) == (4, 4):
        return _by_lane(emitter, a, b, c)
    if emitter.target.has_pairs and sums.lanes == 1:
        return _by_halves(emitter, a, b, c)
    total = c.name
    for j in range(4):
        total = emitter.arithmetic("add", sums, total, _product(emitter, a, b, sums, j))
    return Value(sums, total)


def _first_of_four(emitter: Emission, total: Value, c: Value) -> Value:
    """One or two sums, as `c` has, that are the first of four."""
    if c.type.lanes == 1:
        return Value(c.type, emitter.out.emit(f"extractelement {total}, i64 0"))
    places = mask(range(c.type.lanes))
    return Value(c.type, emitter.out.emit(f"shufflevector {total}, {total.type.text} poison, {places}"))


def _first_of(emitter: Emission, value: Value, lanes: int) -> Value:
    """A vector that begins with a value; what follows means nothing."""
    kind, own = llvm_type(value.type.dtype, lanes), value.type.lanes
    if own == 1:
        return Value(kind, emitter.out.emit(f"insertelement {kind.text} poison, {value}, i64 0"))
    places = mask([*range(own), *[None] * (lanes - own)])
    return Value(kind, emitter.out.emit(f"shufflevector {value}, {value.type.text} poison, {places}"))


def _by_pairs(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """Bytes are widened to 16 bits, and each instruction adds up two products of every four."""
    sums = c.type
    left, right = (_even_and_odd(emitter, side, sums.lanes) for side in (a, b))
    total = c.name
    for x, y in zip(left, right, strict=True):
        total = emitter.arithmetic("add", sums, total, _pairs(emitter, sums, x, y))
    return Value(sums, total)


def _has_pairs(emitter: Emission, sums: LLVMType) -> bool:
    """True if the machine adds two products of 16 bits to each of these sums, or to each of some of them at a time."""
    return (emitter.target.dot_product, min(sums.lanes, emitter.target.vector_lanes)) in _PAIRS


def _pairs(emitter: Emission, sums: LLVMType, a: str, b: str) -> str:
    """The sums of two products each of vectors of i16."""
    out, words, most = emitter.out, llvm_type(DType.I16, 2 * sums.lanes), emitter.target.vector_lanes
    if sums.lanes <= most:
        name = _PAIRS[emitter.target.dot_product, sums.lanes]
        return out.call(sums.text, name, (words.text, a), (words.text, b))
    half = llvm_type(DType.I32, sums.lanes // 2)
    parts = []
    for start in (0, sums.lanes):
        places = mask(range(start, start + sums.lanes))
        sides = (out.emit(f"shufflevector {words.text} {side}, {words.text} poison, {places}") for side in (a, b))
        parts.append(f"{half.text} {_pairs(emitter, half, *sides)}")
    return out.emit(f"shufflevector {', '.join(parts)}, {mask(range(sums.lanes))}")


def dot2_words(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """The node `Dot2Words`."""
    out, sums = emitter.out, c.type
    if emitter.target.dot_product is DotProduct.VNNI and sums.lanes < 4:
        left = a if a.type.lanes == 2 else _first_of(emitter, a, 8)
        return _first_of_four(emitter, dot2_words(emitter, left, _first_of(emitter, b, 8), _first_of(emitter, c, 4)), c)
    if a.type.lanes == 2 and sums.lanes > 1:
        a = Value(b.type, out.pure(out.depth, f"bitcast {_spread(emitter, a, sums.lanes)} to {b.type.text}"))
    if name := _ADDED_PAIRS.get((emitter.target.dot_product, sums.lanes)):
        return Value(sums, out.call(sums.text, name, (sums.text, c.name), *((v.type.text, v.name) for v in (a, b))))
    if _has_pairs(emitter, sums):
        return Value(sums, emitter.arithmetic("add", sums, c.name, _pairs(emitter, sums, a.name, b.name)))
    total = c.name
    for j in range(2):
        factors = (_widened(emitter, _elements(emitter, side, sums.lanes, j, 2)).name for side in (a, b))
        total = emitter.arithmetic("add", sums, total, emitter.arithmetic("mul", sums, *factors))
    return Value(sums, total)


def _by_lane(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """Arm: both sides are widened to 16 bits once, and each instruction multiplies by one lane of the left side."""
    out, sums = emitter.out, c.type
    pure, depth = out.pure, out.depth
    name = "llvm.aarch64.neon.smull" if emitter.target.pointer_bits == 64 else "llvm.arm.neon.vmulls"
    word = pure(depth, f"insertelement <2 x i32> poison, i32 {pure(depth, f'bitcast {a} to i32')}, i64 0")
    extend = "zext" if a.type.is_unsigned else "sext"
    left = pure(depth, f"{extend} <8 x i8> {pure(depth, f'bitcast <2 x i32> {word} to <8 x i8>')} to <8 x i16>")
    total = c.name
    for j, (both, half) in enumerate((both, half) for both in _columns(emitter, b) for half in (0, 4)):
        weights = pure(depth, f"shufflevector <8 x i16> {both}, <8 x i16> poison, {mask(range(half, half + 4))}")
        lane = pure(depth, f"shufflevector <8 x i16> {left}, <8 x i16> poison, {mask([j] * 4)}")
        product = out.call(sums.text, f"{name}.v4i32", ("<4 x i16>", weights), ("<4 x i16>", lane))
        total = emitter.arithmetic("add", sums, total, product)
    return Value(sums, total)


def _columns(emitter: Emission, side: Value) -> tuple[str, str]:
    """Of 16 bytes, widened: the first and then the second of each four, the third and then the fourth."""
    pure, depth = emitter.out.pure, emitter.out.depth
    even, odd = _even_and_odd(emitter, side, 4)
    first, last = (
        pure(depth, f"shufflevector <8 x i16> {even}, <8 x i16> {odd}, {mask(range(start, 16, 2))}") for start in (0, 1)
    )
    return first, last


def _even_and_odd(emitter: Emission, side: Value, sums: int) -> tuple[str, str]:
    """Of the bytes for so many sums, widened: the first and third of each four, the second and fourth.

    Four bytes serve every sum.
    """
    pure, depth = emitter.out.pure, emitter.out.depth
    kind = llvm_type(DType.I16, 2 * sums)
    eight = constant(8, kind)
    vector = _spread(emitter, side, sums) if side.type.lanes == 4 else side
    words = pure(depth, f"bitcast {vector} to {kind.text}")
    if side.type.is_unsigned:
        low = constant(255, kind)
        return pure(depth, f"and {kind.text} {words}, {low}"), pure(depth, f"lshr {kind.text} {words}, {eight}")
    even = pure(depth, f"ashr {kind.text} {pure(depth, f'shl {kind.text} {words}, {eight}')}, {eight}")
    return even, pure(depth, f"ashr {kind.text} {words}, {eight}")


def _spread(emitter: Emission, side: Value, sums: int) -> Value:
    """32 bits of a vector as the word of every sum."""
    word = Value(llvm_type(DType.I32), emitter.out.pure(emitter.out.depth, f"bitcast {side} to i32"))
    return emitter.splat(word, sums)


def _by_halves(emitter: Emission, a: Value, b: Value, total: Value) -> Value:
    """Arm without vectors: bytes 0 and 2 of a word are widened to its halves, then 1 and 3."""
    for start in (0, 1):
        total = dot2(emitter, halves(emitter, a, start), halves(emitter, b, start), total)
    return total


def dot2(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """The node `Dot2`."""
    out, kind = emitter.out, c.type
    if emitter.target.has_pairs:
        return Value(kind, out.call("i32", "llvm.arm.smlad", *(("i32", v.name) for v in (a, b, c))))
    total = c.name
    for is_upper in (False, True):
        factors = []
        for side in (a, b):
            placed = side.name if is_upper else out.emit(f"shl {side}, 16")
            factors.append(out.emit(f"ashr i32 {placed}, 16"))
        total = emitter.arithmetic("add", kind, total, emitter.arithmetic("mul", kind, *factors))
    return Value(kind, total)


def dot_all(emitter: Emission, a: Value, b: Value, c: Value) -> Value:
    """The node `DotAll`."""
    out, kind, vector = emitter.out, c.type, a.type.text
    if emitter.target.dot_product is DotProduct.REDUCED and a.type.lanes == 16:
        flags = [("i32", "0")] * 3  # signed, no differences, in order
        name = "llvm.arm.mve.vmldava.v16i8"
        return Value(kind, out.call("i32", name, *flags, ("i32", c.name), (vector, a.name), (vector, b.name)))
    wide = llvm_type(DType.I32, a.type.lanes)
    factors = (out.emit(f"sext {side} to {wide.text}") for side in (a, b))
    product = emitter.arithmetic("mul", wide, *factors)
    if wide.lanes > 1:
        product = out.call("i32", f"llvm.vector.reduce.add.{wide.suffix}", (wide.text, product))
    return Value(kind, emitter.arithmetic("add", kind, product, c.name))


def add_pairs(emitter: Emission, values: Value, total: Value) -> Value:
    """The node `AddPairs`: Arm has an instruction."""
    out, kind, pairs = emitter.out, total.type, values.type
    if emitter.target.dot_product is DotProduct.LANES and kind.lanes in (2, 4):
        suffix = f"{kind.suffix}.{pairs.suffix}"
        if emitter.target.pointer_bits == 32:
            given = ((kind.text, total.name), (pairs.text, values.name))
            return _in_turn(emitter, Value(kind, out.call(kind.text, f"llvm.arm.neon.vpadals.{suffix}", *given)))
        sums = out.call(kind.text, f"llvm.aarch64.neon.saddlp.{suffix}", (pairs.text, values.name))
        return _in_turn(emitter, Value(kind, emitter.arithmetic("add", kind, total.name, sums)))
    result = total.name
    for start in (0, 1):
        if kind.lanes == 1:
            part = out.emit(f"extractelement {values}, i64 {start}")
        else:
            places = mask(range(start, pairs.lanes, 2))
            part = out.emit(f"shufflevector {values}, {pairs.text} poison, {places}")
        narrow = llvm_type(pairs.dtype, kind.lanes)
        result = emitter.arithmetic("add", kind, result, out.emit(f"sext {narrow.text} {part} to {kind.text}"))
    return Value(kind, result)


def _in_turn(emitter: Emission, sums: Value) -> Value:
    """Sums before which no load comes that stands behind them.

    LLVM would load all weights of a step, multiply each, and only then add: more products than there are registers.
    """
    t = sums.type.text
    return Value(sums.type, emitter.out.emit(f'call {t} asm sideeffect "", "=w,0"({t} {sums.name})'))


def halves(emitter: Emission, value: Value, start: int) -> Value:
    """The node `Halves`; made once for all that multiply it."""
    pure, depth, kind = emitter.out.pure, emitter.out.depth, llvm_type(DType.I32)
    word = pure(depth, f"bitcast {value} to i32")
    if emitter.target.has_pairs:
        name = "llvm.arm.uxtb16" if value.type.is_unsigned else "llvm.arm.sxtb16"
        rotated = pure(depth, f"call i32 @llvm.fshr.i32(i32 {word}, i32 {word}, i32 8)") if start else word
        return Value(kind, pure(depth, f"call i32 @{name}(i32 {rotated})"))
    moved = pure(depth, f"lshr i32 {word}, 8") if start else word
    if value.type.is_unsigned:
        return Value(kind, pure(depth, f"and i32 {moved}, {0x00FF00FF}"))
    left = word if start else pure(depth, f"shl i32 {word}, 8")
    upper = pure(depth, f"and i32 {pure(depth, f'ashr i32 {left}, 8')}, -65536")
    low = pure(depth, f"shl i32 {moved}, 24")
    lower = pure(depth, f"lshr i32 {pure(depth, f'ashr i32 {low}, 8')}, 16")
    return Value(kind, pure(depth, f"or i32 {upper}, {lower}"))


def _every(emitter: Emission, a: Value, sums: int) -> str:
    """The left side with four lanes for each sum."""
    if a.type.lanes == 4 * sums:
        return a.name
    whole = llvm_type(a.type.dtype, 4 * sums)
    if emitter.target.dot_product is DotProduct.NEON and a.type.lanes == 4:
        return emitter.out.pure(emitter.out.depth, f"bitcast <4 x i32> {_lane(emitter, a)} to {whole.text}")
    pure, depth = emitter.out.pure, emitter.out.depth
    source, flip = emitter.flipped.get(a.name, (a.name, 0))
    before = Value(a.type, source)
    if a.type.lanes > 4:  # as bytes: of words LLVM wouldn't see that a load fills all parts of a register
        places = mask([place % a.type.lanes for place in range(4 * sums)])
        every = Value(whole, pure(depth, f"shufflevector {before}, {a.type.text} poison, {places}"))
    else:
        every = _spread(emitter, before, sums)
    if flip:  # in every lane: then the bytes are spread while they are loaded
        bits = constant(int.from_bytes(bytes([flip] * every.type.dtype.itemsize), "little", signed=True), every.type)
        every = Value(every.type, pure(depth, f"xor {every}, {bits}"))
    return every.name if every.type is whole else pure(depth, f"bitcast {every} to {whole.text}")


def takes_quads(emitter: Emission, spread: Spread, lanes: int) -> bool:
    """True if the instruction takes the bytes that `spread` takes from a vector there: four that lie in one lane."""
    four = (spread.lanes, spread.run, spread.step, spread.start % 4) == (4, 1, 1, 0)
    return emitter.target.dot_product is DotProduct.NEON and lanes == 16 and four and spread.value.type.lanes in (8, 16)


def quad_of(emitter: Emission, vector: Value, start: int, lanes: int) -> Value:
    """Four bytes of a vector, from `start` on, again and again; LLVM sees the lane that they are."""
    pure, depth = emitter.out.pure, emitter.out.depth
    words, whole = llvm_type(DType.I32, vector.type.lanes // 4), llvm_type(vector.type.dtype, lanes)
    seen = pure(depth, f"bitcast {vector} to {words.text}")
    every = pure(depth, f"shufflevector {words.text} {seen}, {words.text} poison, {mask([start // 4] * (lanes // 4))}")
    return Value(whole, pure(depth, f"bitcast <{lanes // 4} x i32> {every} to {whole.text}"))


def _lane(emitter: Emission, a: Value) -> str:
    """Four bytes in every lane, such that LLVM sees one lane, from which instructions take them."""
    pure, depth = emitter.out.pure, emitter.out.depth
    single = pure(depth, f"bitcast {a} to float")
    first = pure(depth, f"insertelement <4 x float> poison, float {single}, i64 0")
    words = pure(depth, f"bitcast <4 x float> {first} to <4 x i32>")
    vector = pure(depth, f'call <4 x i32> asm "", "=w,0"(<4 x i32> {words})')
    return pure(depth, f"shufflevector <4 x i32> {vector}, <4 x i32> poison, <4 x i32> zeroinitializer")


def _product(emitter: Emission, a: Value, b: Value, sums: LLVMType, j: int) -> str:
    """Elements j of each four of a and b, multiplied as i32."""
    factors = []
    for side in (a, b):
        wide = _widened(emitter, _elements(emitter, side, min(sums.lanes, side.type.lanes // 4), j, 4))
        factors.append(wide.name if wide.type is sums else emitter.splat(wide, sums.lanes).name)
    return emitter.arithmetic("mul", sums, *factors)


def _widened(emitter: Emission, narrow: Value) -> Value:
    """The numbers as i32."""
    goal = llvm_type(DType.I32, narrow.type.lanes)
    return Value(goal, emitter.out.emit(f"{conversion(narrow.type, goal)} {narrow} to {goal.text}"))


def _elements(emitter: Emission, vector: Value, count: int, j: int, apart: int) -> Value:
    """Element j of each of the first `count` groups of `apart` elements."""
    narrow = llvm_type(vector.type.dtype, count)
    if count == 1:
        return Value(narrow, emitter.out.emit(f"extractelement {vector}, i64 {j}"))
    places = mask(range(j, apart * count, apart))
    return Value(narrow, emitter.out.emit(f"shufflevector {vector}, {vector.type.text} poison, {places}"))
