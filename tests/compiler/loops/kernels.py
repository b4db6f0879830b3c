"""Kernels for tests: a few in text form, and random ones."""

from __future__ import annotations

import random

from netc.compiler.loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Load,
    LoopKind,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
)
from netc.compiler.types import DType

SCALE = """\
kernel @scale(%x: f32[4,32], %y: out f32[4,32]) {
  parallel %i = 0 to 4 {
    for %j = 0 to 32 step 16 {
      %y[%i, %j] = mul(load f32x16 %x[%i, %j], 2.0: f32x16)
    }
  }
}
"""


def tile(rows: int, lanes: int) -> str:
    """A matrix product in tiles of `rows` by two vectors of `lanes`, with bias and relu."""
    vector, width = f"f32x{lanes}", 2 * lanes
    return f"""\
kernel @tile(%x: f32[{4 * rows},20], %w: f32[20,{width}], %bias: f32[{width}], %y: out f32[{4 * rows},{width}]) {{
  parallel %m = 0 to {4 * rows} step {rows} {{
    register %acc: {vector}[{rows},2]
    unroll %r = 0 to {rows} {{
      unroll %v = 0 to 2 {{
        %acc[%r, %v] = load {vector} %bias[%v * {lanes}]
      }}
    }}
    for %k = 0 to 20 {{
      %w0 = load {vector} %w[%k, 0]
      %w1 = load {vector} %w[%k, {lanes}]
      unroll %r = 0 to {rows} {{
        %a = broadcast<{lanes}>(load f32 %x[%m + %r, %k])
        %acc[%r, 0] = fma(%a, %w0, %acc[%r, 0])
        %acc[%r, 1] = fma(%a, %w1, %acc[%r, 1])
      }}
    }}
    unroll %r = 0 to {rows} {{
      unroll %v = 0 to 2 {{
        %y[%m + %r, %v * {lanes}] = max(%acc[%r, %v], 0.0: {vector})
      }}
    }}
  }}
}}
"""


TILE = tile(3, 4)

CONTROL = """\
kernel @control(%x: f32[9,7], %n: i64[3], %y: out f32[9,7], %count: out i64[4]) {
  register %sum: f32[2]
  register %steps: i64[1]
  stack %row: f32[7]
  %steps[0] = 0
  %sum[0] = 0.0: f32
  %sum[1] = 1.0: f32
  for %i = 0 to 9 {
    for %j = %i to min(load i64 %n[0], 7) {
      %sum[0] = add(%sum[0], load f32 %x[%i, %j])
      %steps[0] = %steps[0] + 1
    }
    for %j = 0 to 7 {
      if lt(%j, %i) {
        %row[%j] = load f32 %x[%i, 6 - %j]
        if lt(2, %i) {
          %sum[1] = add(%sum[1], load f32 %row[%j])
        }
      } else {
        %row[%j] = %sum[0]
        %steps[0] = %steps[0] + 10
      }
    }
    for %j = 0 to 7 {
      %a = load f32 %row[%j]
      %a = add(%a, cast<f32>(%i * 7 + %j - 20))
      %y[%i, %j] = add(%a, %sum[1])
    }
  }
  %count[0] = %steps[0]
  %count[1] = floordiv(load i64 %n[1], 4)
  %count[2] = mod(load i64 %n[1], 5)
  %count[3] = min(select(lt(load i64 %n[1], 0), 3, load i64 %n[1] * 2), load i64 %n[2])
}
"""

INDICES = """\
kernel @indices(%x: f32[60], %y: out f32[60], %z: out i64[60]) {
  for %i = 0 to 12 {
    for %j = 0 to 5 {
      %flat = %i * 5 + %j
      %y[mod(%flat * 7, 60)] = load f32 %x[floordiv(%flat, 5) * 5 + mod(%flat, 5)]
      %z[%flat] = floordiv(%j - %i, 3) * 100 + mod(%j - %i, 3) + max(%i, 3) * min(%j, %i - 4)
    }
  }
}
"""

BOOLEANS = """\
kernel @booleans(%x: f32[16], %m: i1[16], %y: out i1[16], %any: out i1[2]) {
  %mask = load i1x8 %m[4]
  %y[0] = and(lt(load f32x8 %x[0], load f32x8 %x[8]), not(%mask))
  %y[8] = or(eq(load f32x8 %x[0], load f32x8 %x[8]), xor(%mask, true: i1x8))
  %any[0] = and(load i1 %m[0], lt(3, 2))
  %any[1] = or(load i1 %m[0], not(lt(3, 2)))
}
"""

TEXTS = {"scale": SCALE, "tile": TILE, "control": CONTROL, "indices": INDICES, "booleans": BOOLEANS}


class RandomKernel:
    """Draws a kernel that is well formed and stays inside its buffers."""

    def __init__(self, seed: int, lanes: int) -> None:
        self.random = random.Random(seed)
        self.lanes = lanes
        self.x = Buffer("x", DType.F32, (6, 5 + lanes))
        self.y = Buffer("y", DType.F32, (6, 5 + lanes), Space.OUT)
        self.registers = Buffer("r", DType.F32, (3,), Space.REGISTER, lanes)
        self.names = 0

    def kernel(self) -> Kernel:
        start: list[Stmt] = [Allocate(self.registers)]
        start += [Store(self.registers, (Const(i),), self.constant()) for i in range(3)]
        body = (*start, *self.block({}, 3), *self.output({}))
        if self.random.random() < 0.5:
            row = For("row", Const(0), Const(6), (*start, *self.block({"row": 5}, 3), *self.output({"row": 5})))
            return Kernel("random", (self.x, self.y), (For(row.var, row.start, row.stop, row.body, LoopKind.PARALLEL),))
        return Kernel("random", (self.x, self.y), body)

    def block(self, scope: dict[str, int], depth: int) -> tuple[Stmt, ...]:
        """`scope` gives the largest value of each variable; all start at 0."""
        choices = [self.update, self.update, *([self.loop, self.loop, self.branch] if depth else [])]
        return tuple(self.random.choice(choices)(scope, depth - 1) for _ in range(self.random.randint(1, 3)))

    def update(self, scope: dict[str, int], depth: int) -> Stmt:
        return Store(self.registers, (Const(self.random.randrange(3)),), self.vector(scope, 2))

    def loop(self, scope: dict[str, int], depth: int) -> Stmt:
        self.names += 1
        var, limit = f"i{self.names}", self.random.randint(0, 4)
        kind = self.random.choice((LoopKind.SERIAL, LoopKind.SERIAL, LoopKind.UNROLL))
        stop: Expr = Const(limit)
        if scope and kind is LoopKind.SERIAL and self.random.random() < 0.3:
            stop = Binary("min", stop, Var(self.random.choice(list(scope))))
        step = self.random.choice((1, 1, 2))
        return For(var, Const(0), stop, self.block({**scope, var: max(0, limit - 1)}, depth), kind, step)

    def branch(self, scope: dict[str, int], depth: int) -> Stmt:
        otherwise = self.block(scope, depth) if self.random.random() < 0.5 else ()
        return If(self.condition(scope), self.block(scope, depth), otherwise)

    def output(self, scope: dict[str, int]) -> tuple[Stmt, ...]:
        row = Var("row") if "row" in scope else Const(1)
        return tuple(Store(self.y, (row, Const(i)), Load(self.registers, (Const(i),))) for i in range(3))

    def condition(self, scope: dict[str, int]) -> Expr:
        op = self.random.choice(("lt", "le", "eq", "ne"))
        return Binary(op, self.index(scope, 5), self.index(scope, 5))

    def index(self, scope: dict[str, int], limit: int) -> Expr:
        """An index between 0 and `limit`."""
        fitting = [Var(name) for name, largest in scope.items() if largest <= limit]
        if not fitting or self.random.random() < 0.3:
            return Const(self.random.randint(0, limit))
        var = self.random.choice(fitting)
        mixed = var * self.random.choice((1, 3, 5)) + self.random.randint(0, 9)
        other = self.random.choice(fitting)
        return self.random.choice((var, mixed % (limit + 1), Binary("min", mixed // 2, Const(limit)), limit - other))

    def constant(self) -> Const:
        return Const(self.random.choice((0.0, 0.5, -1.25, 3.0)), DType.F32, self.lanes)

    def vector(self, scope: dict[str, int], depth: int) -> Expr:
        choice = self.random.randrange(4 if depth == 0 else 9)
        if choice == 0:
            return self.constant()
        if choice == 1:
            return Load(self.registers, (Const(self.random.randrange(3)),))
        place = (self.index(scope, 5), self.index(scope, 5))
        if choice == 2:
            return Load(self.x, place, self.lanes)
        if choice == 3:
            return Broadcast(Load(self.x, place), self.lanes)
        a, b = self.vector(scope, depth - 1), self.vector(scope, depth - 1)
        if choice == 4:
            return Select(self.condition(scope), a, b)
        if choice == 5 and self.lanes > 1:
            return Broadcast(Reduce(self.random.choice(("min", "max")), a), self.lanes)
        if choice == 6:
            return Fma(Const(0.25, DType.F32, self.lanes), a, b)
        return Binary(self.random.choice(("add", "sub", "min", "max")), a, b)


def typed_binary(op: str, kind: VectorType, count: int) -> str:
    """A kernel that applies a binary operation to two arrays."""
    t, d = kind, kind.dtype
    result = "i1" if op in ("lt", "le", "eq", "ne") else str(d)
    return f"""\
kernel @binary(%a: {d}[{count}], %b: {d}[{count}], %y: out {result}[{count}]) {{
  for %i = 0 to {count} step {t.lanes} {{
    %y[%i] = {op}(load {t} %a[%i], load {t} %b[%i])
  }}
}}
"""


def typed_unary(expression: str, kind: VectorType, result: DType, count: int) -> str:
    """A kernel that applies an expression in `%v` to an array."""
    return f"""\
kernel @unary(%x: {kind.dtype}[{count}], %y: out {result}[{count}]) {{
  for %i = 0 to {count} step {kind.lanes} {{
    %v = load {kind} %x[%i]
    %y[%i] = {expression}
  }}
}}
"""
