"""Loop-IR expressions to LLVM instructions.

Scalar `i64` values stay symbolic (`index.Linear`) until an instruction needs them; everything else becomes one
instruction per node. Fast-math is never used: sums keep their order, and only `Fma` nodes fuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ....errors import InternalError
from ....loops.interval import UNKNOWN
from ....loops.ir import (
    INDEX,
    AddPairs,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Dot2,
    Dot2Bfloat16,
    Dot2Words,
    Dot4,
    DotAll,
    Expr,
    FixedMul,
    Fma,
    FromBfloat16,
    Halves,
    HighProduct,
    Interleave,
    Join,
    Load,
    PairSums,
    Pick,
    RealMul,
    Reduce,
    Select,
    Spread,
    ToBfloat16,
    Unary,
    UpperProduct,
    Var,
    Within,
)
from ....loops.operations import COMPARISONS
from ....targets.target import Target
from ....types import DType
from . import text
from .bfloat16 import dot2_bfloat16, from_bfloat16, to_bfloat16
from .byte_tables import pick
from .conversion import all_of, convert, convert_index, narrowest
from .division import divide
from .dot_product import add_pairs, dot2, dot2_words, dot4, dot_all, halves, quad_of, takes_quads
from .extremum import extremum
from .fixed_point import fixed_mul, high_product, real_mul, upper_product
from .functions import METHODS
from .index import Linear
from .lanes import interleave, join, pair_sums, reduce, spread
from .math import bounded, exp_beside_one, expand
from .memory import MemoryEmitter
from .narrowing import can_narrow, clamped, narrowed, taken_apart
from .reach import Reach
from .singles import expand_function
from .text import LLVMType, Value, llvm_type
from .whole_numbers import floor, rounded

_INDEX = llvm_type(DType.I64)
_BOOL = llvm_type(DType.BOOL)


class ExpressionEmitter(MemoryEmitter):
    """Emits expressions into a function; `KernelEmitter` adds statements."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.reach = Reach()
        self.flipped: dict[str, tuple[str, int]] = {}
        self.stored: Expr | None = None
        """What the statement stores, or names for the next one to store."""
        self._emitted: dict[int, tuple[Expr, Value]] | None = None
        """What a statement's expression has had emitted so far, by the identity of its parts."""
        self._emitters: dict[type[Expr], Callable[..., Value]] = {
            Const: self._const,
            Var: self._var,
            Binary: self._binary,
            Unary: self._unary,
            Fma: self._fma,
            Dot4: self._dot4,
            Dot2: self._of_values(dot2),
            Dot2Words: self._of_values(dot2_words),
            DotAll: self._of_values(dot_all),
            ToBfloat16: partial(to_bfloat16, self),
            FromBfloat16: partial(from_bfloat16, self),
            Dot2Bfloat16: partial(dot2_bfloat16, self),
            Halves: self._halves,
            Join: partial(join, self),
            AddPairs: self._of_values(add_pairs),
            PairSums: partial(pair_sums, self),
            FixedMul: self._fixed_mul,
            HighProduct: self._of_values(high_product),
            UpperProduct: self._of_values(upper_product),
            RealMul: self._real_mul,
            Interleave: partial(interleave, self),
            Pick: self._pick,
            Select: self._select,
            Cast: self._cast,
            Bitcast: self._bitcast,
            Broadcast: self._broadcast,
            Within: self._within,
            Load: self.load,
            Reduce: partial(reduce, self),
            Spread: partial(spread, self),
        }

    def _of_values(self, function: Callable[..., Value]) -> Callable[[Expr], Value]:
        """The rule of a node whose operands are emitted in order, and given to a function."""
        return lambda expr: function(self, *map(self.value, expr.operands))

    def whole(self, expr: Expr) -> Value:
        """Emit the expression of a statement: a part that stands in it several times, once.

        Formulas use their parts again and again (a sine's has a few hundred, and a hundred thousand places).
        """
        self._emitted = {}
        try:
            return self.value(expr)
        finally:
            self._emitted = None

    def value(self, expr: Expr) -> Value:
        """Emit an expression."""
        kind = type(expr)
        if kind is Var:  # the most frequent node, ahead of the table
            return self._var(expr)  # type: ignore[arg-type]
        emitted = self._emitted
        if emitted is None or kind is Const:
            return self._value(kind, expr)
        if (found := emitted.get(id(expr))) is None:
            found = emitted[id(expr)] = expr, self._value(kind, expr)
        return found[1]

    def _value(self, kind: type[Expr], expr: Expr) -> Value:
        if kind in (Binary, Select) and expr.type == INDEX:
            return Value(_INDEX, self.operand(self.index(expr)))
        try:
            rule = self._emitters[kind]
        except KeyError:
            raise InternalError(f"code generation has no rule for {kind.__name__}") from None
        return rule(expr)

    # ---- leaves -----------------------------------------------------------------------------------------------------

    def _const(self, expr: Const) -> Value:
        kind = llvm_type(expr.dtype, expr.lanes)
        return Value(kind, text.constant(expr.value, kind))

    def _var(self, expr: Var) -> Value:
        bound = self.variables[expr.name]
        return Value(_INDEX, self.operand(bound)) if isinstance(bound, Linear) else bound

    def let(self, expr: Expr) -> Expr:
        """Emit an expression under a name that no program can write, and return the variable."""
        name = self.out.fresh("")
        self.variables[name] = self.index(expr) if expr.type == INDEX else self.value(expr)
        return Var(name, expr.type)

    # ---- operations -------------------------------------------------------------------------------------------------

    def _binary(self, expr: Binary) -> Value:
        op = expr.op
        if op in COMPARISONS:
            if expr.lhs.type == INDEX:
                return self._compare_index(op, self.index(expr.lhs), self.index(expr.rhs))
            return self._compare(op, self.value(expr.lhs), self.value(expr.rhs))
        if op in METHODS:
            return self.value(expand_function(op, [self.let(expr.lhs), self.let(expr.rhs)], self.let))
        if op == "add" and _is_one(expr.lhs) and _is_exp(expr.rhs):
            return self.value(Binary(op, self.let(exp_beside_one(self.let(expr.rhs.operands[0]), self.let)), expr.lhs))
        kind, a = self.value(expr.lhs)
        if kind.dtype is DType.BOOL and op in ("and", "or"):
            return Value(kind, self._logical(op, kind, a, expr.rhs))
        b = self.value(expr.rhs).name
        result = self.arithmetic(op, kind, a, b)
        if op == "xor" and kind.dtype in (DType.I8, DType.U8) and (bits := text.literal(b)) is not None:
            self.flipped[result] = (a, int(bits) & 0xFF)
        return Value(kind, result)

    def _logical(self, op: str, kind: LLVMType, a: str, rhs: Expr) -> str:
        """And, or on booleans; known operands decide or drop out."""
        absorbing = op == "or"
        if text.truth(a) is absorbing:
            return a
        b = self.value(rhs).name
        if text.truth(a) is not None or text.truth(b) is absorbing:
            return b
        return a if text.truth(b) is not None else self.out.emit(f"{op} {kind.text} {a}, {b}")

    def _compare(self, op: str, a: Value, b: Value) -> Value:
        kind = a.type
        table = text.UNSIGNED_COMPARE if kind.is_unsigned else text.SIGNED_COMPARE
        name = (text.FLOAT_COMPARE if kind.dtype.is_float else table)[op]
        return Value(llvm_type(DType.BOOL, kind.lanes), self.out.emit(f"{name} {kind.text} {a.name}, {b.name}"))

    def arithmetic(self, op: str, kind: LLVMType, a: str, b: str) -> str:
        """Emit an operation of `ARITHMETIC` on two operands of one type."""
        if op in ("min", "max"):
            return extremum(self, op, kind, a, b)
        if op in ("div", "floordiv", "mod") and not kind.dtype.is_float:
            return divide(self, op, kind, a, b)
        if kind.dtype.is_float:
            name = text.FLOAT_BINARY.get(op)
        else:
            table = text.UNSIGNED_BINARY if kind.is_unsigned else text.SIGNED_BINARY
            name = text.BITWISE.get(op) or table.get(op)
        if name is None:
            raise InternalError(f"code generation has no rule for {op} of {kind.dtype}")
        result = self.out.emit(f"{name} {kind.text} {a}, {b}")
        if kind.dtype.is_float:
            self.reach.combine(op, result, a, b, kind.dtype)
        return result

    def pick(self, compare: str, x: Value, other: str) -> Value:
        """`x` where it compares so with `other`, else `other`: one instruction for the extremum of numbers."""
        kind, mask = x.type, llvm_type(DType.BOOL, x.type.lanes).text
        holds = self.out.emit(f"{compare} {x}, {other}")
        return Value(kind, self.out.emit(f"select {mask} {holds}, {x}, {kind.text} {other}"))

    def _unary(self, expr: Unary) -> Value:
        op = expr.op
        if op in ("exp", "exp2"):
            return self._exponential(op, self.let(expr.value))
        if op in ("log", "tanh"):
            return self.value(expand(op, self.let(expr.value), self.let))
        if op in METHODS:
            return self.value(expand_function(op, [self.let(expr.value)], self.let))
        if op in ("ceil", "trunc", "round") and expr.type.dtype.is_float:
            return rounded(self, op, expr.value)
        kind, x = self.value(expr.value)
        return self._unary_of_floats(op, kind, x) if kind.dtype.is_float else self._unary_of_integers(op, kind, x)

    def _unary_of_floats(self, op: str, kind: LLVMType, x: str) -> Value:
        t = kind.text
        if op == "floor":
            return floor(self, kind, x)
        if op == "sqrt":
            return Value(kind, self.out.call(t, f"llvm.sqrt.{kind.suffix}", (t, x)))
        if op == "neg":
            result = self.out.emit(f"fneg {t} {x}")
        elif op == "abs":
            result = self.out.call(t, f"llvm.fabs.{kind.suffix}", (t, x))
        else:
            raise InternalError(f"code generation has no rule for {op} of {kind.dtype}")
        self.reach.turn(op, result, x)
        return Value(kind, result)

    def _unary_of_integers(self, op: str, kind: LLVMType, x: str) -> Value:
        t = kind.text
        if op == "neg":
            return Value(kind, self.out.emit(f"sub {t} {text.constant(0, kind)}, {x}"))
        if op == "not":
            known = text.truth(x)
            if known is not None:
                return Value(kind, text.constant(not known, kind))
            ones = text.constant(True if kind.dtype is DType.BOOL else -1, kind)
            return Value(kind, self.out.emit(f"xor {t} {x}, {ones}"))
        if op == "floor" or (op == "abs" and kind.is_unsigned):
            return Value(kind, x)
        if op == "abs":
            return Value(kind, self.out.call(t, f"llvm.abs.{kind.suffix}", (t, x), ("i1", "false")))
        raise InternalError(f"code generation has no rule for {op} of {kind.dtype}")

    def _exponential(self, op: str, x: Expr) -> Value:
        """That of a value under a name; with less effort where its bounds are known."""
        method = bounded(op, x.type.dtype, self.reach.unless_nan(self.value(x).name))
        if method is not None:
            return self.value(method(x, self.let))
        return self.value(expand(op, x, self.let) if op == "exp" else expand_function(op, [x], self.let))

    def _fma(self, expr: Fma) -> Value:
        if expr.type.dtype is DType.F16:  # else LLVM calls the C library, to round from double precision
            return self.value(Cast(Fma(*(Cast(x, DType.F32) for x in (expr.a, expr.b, expr.c))), DType.F16))
        kind, a = self.value(expr.a)
        b, c = self.value(expr.b).name, self.value(expr.c).name
        t = kind.text
        if self.target.vector_fma and kind.dtype is DType.F32 and kind.lanes == self.target.vector_lanes:
            return Value(kind, self.out.call(t, self.target.vector_fma, (t, a), (t, b), (t, c)))
        fuses = self.target.has_fma and (self.target.has_double or kind.dtype is DType.F32)
        if not kind.dtype.is_float or not fuses:  # a library call per lane would be the alternative
            product = self.arithmetic("mul", kind, a, b)
            return Value(kind, self.arithmetic("add", kind, product, c))
        result = self.out.call(t, f"llvm.fma.{kind.suffix}", (t, a), (t, b), (t, c))
        self.reach.add_product(result, (a, b), c, kind.dtype)
        return Value(kind, result)

    def _dot4(self, expr: Dot4) -> Value:
        left, lanes = expr.a, expr.b.type.lanes
        if isinstance(left, Spread) and takes_quads(self, left, lanes):
            a = quad_of(self, self.value(left.value), left.start, lanes)
        else:
            a = self.value(left)
        return dot4(self, a, self.value(expr.b), self.value(expr.c))

    def _halves(self, expr: Halves) -> Value:
        return halves(self, self.value(expr.value), expr.start)

    def _fixed_mul(self, expr: FixedMul) -> Value:
        return fixed_mul(self, self.value(expr.x), self.value(expr.multiplier), self.value(expr.shift), expr.halves_up)

    def _real_mul(self, expr: RealMul) -> Value:
        return real_mul(self, self.value(expr.x), self.value(expr.factor), is_small=expr.is_small)

    def _pick(self, expr: Pick) -> Value:
        return pick(self, expr)

    def _select(self, expr: Select) -> Value:
        condition = self.value(expr.condition)
        known = text.truth(condition.name)
        if known is not None:
            return self.value(expr.then if known else expr.otherwise)
        then, otherwise = self.value(expr.then), self.value(expr.otherwise)
        chosen = self.out.emit(f"select {condition}, {then}, {otherwise}")
        if then.type.dtype.is_float:
            is_lifted = isinstance(expr.otherwise, Const) and expr.condition == Binary("lt", expr.otherwise, expr.then)
            note = self.reach.lift if is_lifted else self.reach.choose
            note(chosen, then.name, otherwise.name)
        return Value(then.type, chosen)

    def _broadcast(self, expr: Broadcast) -> Value:
        return self.splat(self.value(expr.value), expr.lanes)

    def _within(self, expr: Within) -> Value:
        x, largest = self.value(expr.x), float(expr.largest)
        self.reach.record(x.name, (-largest, largest), x.type.dtype)
        return x

    def splat(self, scalar: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        kind = llvm_type(scalar.type.dtype, lanes)
        if lanes == 1:
            return scalar
        if scalar.name[0] != "%":  # a constant
            return Value(kind, f"splat ({scalar})")
        depth, t = self.out.depth, kind.text
        if self.target.multiplies_by_lane and kind.dtype is DType.F32:
            # LLVM would fill a vector from memory, which costs an address, where instructions take the one lane.
            scalar = Value(scalar.type, self.opaque(scalar.name))
        first = self.out.pure(depth, f"insertelement {t} poison, {scalar}, i64 0")
        zeros = f"<{lanes} x i32> zeroinitializer"
        every = self.out.pure(depth, f"shufflevector {t} {first}, {t} poison, {zeros}")
        if kind.dtype.is_float:
            self.reach.record(every, self.reach.of(scalar.name), kind.dtype)
        return Value(kind, every)

    # ---- conversions ------------------------------------------------------------------------------------------------

    def other_index(self, expr: Expr) -> Linear:
        """What is known of a float that becomes a place says whether 32 bits are enough."""
        if not (isinstance(expr, Cast) and expr.value.type.dtype.is_float and self.pointer_bits < 64):
            return super().other_index(expr)
        x = self.value(expr.value)
        low, high = self.reach.of(x.name) or UNKNOWN
        known = (math.trunc(low), math.trunc(high)) if math.isfinite(low) and math.isfinite(high) else UNKNOWN
        return self.atom(convert(self, x, DType.I64).name, known)

    def _cast(self, expr: Cast) -> Value:
        if expr.value.type == INDEX:
            form = self.index(expr.value)
            kind = _INDEX if self.width(form) == 64 else llvm_type(DType.I32)
            return convert_index(self, Value(kind, self.operand(form, self.width(form))), form.range, expr.dtype)
        if can_narrow(self.target, expr.type.lanes, expr is self.stored) and (found := clamped(expr)):
            whole, low, high = found
            inner, addend = taken_apart(whole)
            return narrowed(self, self.value(inner), expr.dtype, low, high, addend)
        result = convert(self, self.value(expr.value), expr.dtype)
        if expr.dtype.is_float and (narrow := narrowest(expr.value)) is not expr.value.type.dtype:
            self.reach.record(result.name, all_of(narrow), expr.dtype)
        return result

    def _bitcast(self, expr: Bitcast) -> Value:
        value = self.value(expr.value)
        goal = llvm_type(expr.dtype, value.type.lanes)
        return Value(
            goal, value.name if goal.text == value.type.text else self.out.emit(f"bitcast {value} to {goal.text}")
        )


def _is_one(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 1 and expr.type.dtype in (DType.F32, DType.F64)


def _is_exp(expr: Expr) -> bool:
    return isinstance(expr, Unary) and expr.op == "exp"
