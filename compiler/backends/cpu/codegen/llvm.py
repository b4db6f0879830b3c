"""Loop kernels to LLVM functions.

    define internal void @"kernel.NAME"(ptr noalias %a0, ..., i64 %tid, i64 %nthreads)

A kernel with a parallel loop is called by every thread and takes iterations [n * tid / nthreads,
n * (tid + 1) / nthreads); any other kernel does its work on thread 0. A serial kernel has neither number. Register
buffers become SSA values with phis at loops and branches, unrolled loops are expanded here, and loops are written
rotated (tested at the end), so the text needs little work from LLVM's passes. Pointers may alias only where a call
overwrites what it has read (`modules.overlaps`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from ....errors import InternalError
from ....loops.ir import (
    INDEX,
    Allocate,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Space,
    Stmt,
    Store,
    TileProduct,
    Var,
    statements,
)
from ....targets.target import Target
from . import text, tiles
from .expressions import ExpressionEmitter
from .index import Linear
from .text import Value, llvm_type

Registers = dict[str, list[str]]
_MOST_STEPS = 1 << 31
"""Of a loop, as LLVM is told of them."""


def emit_kernel(
    kernel: Kernel,
    target: Target,
    linkage: str = "internal",
    *,
    serial: bool = False,
    overlapping: Collection[tuple[str, str]] = (),
) -> str:
    """The text of a kernel's function; a `serial` one does all of the work.

    `overlapping` are kernels and parameters, by name, whose memory other parameters may see (`modules.overlaps`).
    """
    return KernelEmitter(kernel, target, serial).emit(linkage, overlapping)


def symbol(kernel: str) -> str:
    """The symbol of a kernel's function; the prefix keeps it apart from the C library's."""
    return f"kernel.{kernel}"


class KernelEmitter(ExpressionEmitter):
    """Writes one kernel."""

    def __init__(self, kernel: Kernel, target: Target, serial: bool = False) -> None:
        super().__init__(target)
        self.kernel = kernel
        self.serial = serial
        self.pointers = {b.name: f"%a{i}" for i, b in enumerate(kernel.params)}
        self.out.fresh()
        self._register_types: dict[str, str] = {}
        self._tiles: dict[str, list[int]] = {}
        """Numbers of the registers of each buffer of tiles."""
        self._uses_tiles = False
        self._configuration = tiles.shared_configuration(kernel.body)

    def emit(self, linkage: str, overlapping: Collection[tuple[str, str]] = ()) -> str:
        """The function's text."""
        kernel = self.kernel
        if kernel.is_parallel or self.serial:
            self.block(kernel.body)
        else:
            first = self.out.emit("icmp eq i64 %tid, 0")
            self._branch(first, kernel.body, ())
        alone = ["" if (kernel.name, b.name) in overlapping else " noalias" for b in kernel.params]
        pointers = [f"ptr{alone[i]}{_access(b)} %a{i}" for i, b in enumerate(kernel.params)]
        parameters = ", ".join([*pointers, *(() if self.serial else ("i64 %tid", "i64 %nthreads"))])
        attributes = " ".join(("nounwind", "noinline", *self.target.attributes))
        header = f'define {linkage} void @"{symbol(kernel.name)}"({parameters}) {attributes} {{'
        body = [header, "entry:", *self.out.entry, *self.out.scope.lines, "  ret void", "}", ""]
        return "\n".join(body)

    # ---- statements -------------------------------------------------------------------------------------------------

    def block(self, body: Sequence[Stmt]) -> None:
        """Emit statements; names that they bind end with the block."""
        saved: list[tuple[str, Value | Linear | None]] = []
        self._begin_tiles(body)
        for place, stmt in enumerate(body):
            if isinstance(stmt, Store):
                self._store(stmt)
            elif isinstance(stmt, For):
                self._for(stmt)
            elif isinstance(stmt, Let):
                saved.append((stmt.name, self.variables.get(stmt.name)))
                self.stored = stmt.value if _is_stored(stmt, body[place + 1 :]) else None
                self.variables[stmt.name] = self._bound(stmt.value)
            elif isinstance(stmt, If):
                self._if(stmt)
            elif isinstance(stmt, Allocate):
                self._allocate(stmt.buffer)
            elif isinstance(stmt, Prefetch):
                self._prefetch(stmt)
            else:
                raise InternalError(f"code generation: unknown statement {stmt}")
        for name, old in reversed(saved):
            self._restore(name, old)
        if body is self.kernel.body and self._uses_tiles:
            tiles.release(self.out)

    def _begin_tiles(self, body: Sequence[Stmt]) -> None:
        """Give the tiles of a block registers that have their shapes."""
        shared, buffers = self._configuration, tiles.tiles_of(body)
        if body is self.kernel.body and shared is not None:
            tiles.configure(self.out, shared)
        if not buffers:
            return
        own = shared or tiles.own_configuration(buffers)
        if shared is None:
            tiles.configure(self.out, own)
        self._tiles.update(own.numbers(buffers))
        self._uses_tiles = True

    def _bound(self, value: Expr) -> Value | Linear:
        return self.index(value) if value.type == INDEX else self.whole(value)

    def _allocate(self, buffer: Buffer) -> None:
        size = math.prod(buffer.shape)
        if buffer.space is Space.TILE:
            return  # has its registers since the block began
        if buffer.space is Space.REGISTER:
            self.registers[buffer.name] = ["poison"] * size
            self._register_types[buffer.name] = llvm_type(buffer.dtype, buffer.lanes).text
        elif buffer.space is Space.STACK:
            element = text.memory_type(llvm_type(buffer.dtype)).text
            name = self.out.fresh("%stack")
            self.out.entry.append(f"  {name} = alloca [{size} x {element}], align {self.target.alignment}")
            self.pointers[buffer.name] = name
        else:
            raise InternalError(f"code generation: buffer %{buffer.name} in {buffer.space} can't be allocated")

    def _store(self, stmt: Store) -> None:
        buffer = stmt.buffer
        if buffer.space is Space.TILE:
            self._fill_tile(self._tile(buffer, stmt.indices), tiles.shape_of(buffer)[1], stmt.value)
            return
        if isinstance(stmt.value, Load) and stmt.value.buffer.space is Space.TILE:
            number, pitch = self._tile(stmt.value.buffer, stmt.value.indices), tiles.shape_of(stmt.value.buffer)[1]
            tiles.store(self.out, number, self.address(buffer, stmt.indices), pitch)
            return
        self.stored = stmt.value
        value = self.whole(stmt.value)
        if buffer.space is Space.REGISTER:
            self.registers[buffer.name][self.register(buffer, stmt.indices)] = value.name
            return
        self.store(buffer, stmt.indices, value)

    def _prefetch(self, stmt: Prefetch) -> None:
        pointer = self.address(stmt.buffer, stmt.indices)
        if stmt.ahead:  # not `inbounds`, as what is never read may lie anywhere
            behind = stmt.ahead * stmt.buffer.dtype.itemsize
            pointer = self.out.emit(f"getelementptr i8, ptr {pointer}, i{self.pointer_bits} {behind}")
        locality = 2 if stmt.far else 3
        self.out.line(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(stmt.writes)}, i32 {locality}, i32 1)")

    def _tile(self, buffer: Buffer, indices: tuple[Expr, ...]) -> int:
        """The register of a tile."""
        return self._tiles[buffer.name][self.register(buffer, indices)]

    def _fill_tile(self, number: int, row: int, value: Expr) -> None:
        """What is stored to a tile with rows of so many bytes: one of the steps of `loops.tiles`."""
        if isinstance(value, Const):
            tiles.clear(self.out, number)
        elif isinstance(value, Load):
            pitch = value.pitch * value.buffer.dtype.itemsize if value.rows > 1 else row
            tiles.load(self.out, number, self.address(value.buffer, value.indices), pitch)
        elif isinstance(value, TileProduct):
            a, b = (self._tile(e.buffer, e.indices) for e in (value.a, value.b) if isinstance(e, Load))
            tiles.multiply(self.out, value, a, b, number)
        else:
            raise InternalError(f"code generation: no tile is filled with {type(value).__name__}")

    def _if(self, stmt: If) -> None:
        condition = self.value(stmt.condition).name
        known = text.truth(condition)
        if known is None:
            self._branch(condition, stmt.then, stmt.otherwise)
        else:
            self.block(stmt.then if known else stmt.otherwise)

    # ---- control flow -----------------------------------------------------------------------------------------------

    def _branch(self, condition: str, then: Sequence[Stmt], otherwise: Sequence[Stmt]) -> None:
        """Emit two guarded blocks and merge the registers that they change."""
        out = self.out
        labels = [out.fresh("then"), out.fresh("else"), out.fresh("join")]
        carried = [b for b in dict.fromkeys((*_stored(then), *_stored(otherwise))) if b in self.registers]
        before = {b: list(self.registers[b]) for b in carried}
        arms: list[tuple[str, list[str], Registers]] = []
        hoisted: list[str] = []
        entry = out.label
        for label, body in zip(labels, (then, otherwise), strict=False):
            self.registers.update({b: list(values) for b, values in before.items()})
            out.begin()
            out.start_block(label)
            self.block(body)
            out.line(f"br label %{labels[2]}")
            scope = out.end()
            hoisted += scope.hoisted
            arms.append((out.label, scope.lines, {b: self.registers[b] for b in carried}))
        out.label = entry
        out.scope.lines += hoisted
        out.line(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
        for _, lines, _ in arms:
            out.scope.lines += lines
        out.start_block(labels[2])
        self._merge(carried, [(label, registers) for label, _, registers in arms])

    def _merge(self, carried: Iterable[str], arms: Sequence[tuple[str, Registers]]) -> None:
        """Phis for the register elements that differ between the blocks that lead here."""
        for buffer in carried:
            kind = self._register_types[buffer]
            choices = zip(*(registers[buffer] for _, registers in arms), strict=True)
            merged = []
            for values in choices:
                if len(set(values)) == 1:
                    merged.append(values[0])
                    continue
                places = ", ".join(f"[ {v}, %{label} ]" for v, (label, _) in zip(values, arms, strict=True))
                merged.append(self.out.emit(f"phi {kind} {places}"))
            self.registers[buffer] = merged

    def _for(self, stmt: For) -> None:
        start, stop = self.index(stmt.start), self.index(stmt.stop)
        if stmt.kind is LoopKind.UNROLL:
            self._unroll(stmt, start, stop)
            return
        if stmt.kind is LoopKind.PARALLEL and not self.serial:
            start, stop = self._share(start, stop, stmt.step)
        elif not start.terms and not stop.terms and start.constant + stmt.step >= stop.constant:
            self._unroll(stmt, start, stop)
            return
        self._loop(stmt, start, stop)

    def _unroll(self, stmt: For, start: Linear, stop: Linear) -> None:
        if start.terms or stop.terms:
            raise InternalError(f"code generation: bounds of unrolled loop %{stmt.var} are not constant")
        old = self.variables.get(stmt.var)
        for i in range(start.constant, stop.constant, stmt.step):
            self.variables[stmt.var] = Linear(i)
            self.block(stmt.body)
        self._restore(stmt.var, old)

    def _restore(self, name: str, old: Value | Linear | None) -> None:
        if old is None:
            self.variables.pop(name, None)
        else:
            self.variables[name] = old

    def _share(self, start: Linear, stop: Linear, step: int) -> tuple[Linear, Linear]:
        """A thread's part of a parallel loop."""
        extent = stop.plus(start, -1)
        high = extent.range[1]
        trips = self._divide("floordiv", extent.plus(Linear(step - 1)), step)
        count = self.operand(trips)
        ends = []
        for thread in ("%tid", self.out.pure(0, "add i64 %tid, 1")):
            product = self.out.pure(self.out.depth, f"mul i64 {count}, {thread}")
            part = self.out.pure(self.out.depth, f"udiv i64 {product}, %nthreads")
            ends.append(start.plus(self.atom(part, (0, max(0.0, high + step - 1) // step)), step))
        return ends[0], ends[1]

    def _loop(self, stmt: For, start: Linear, stop: Linear) -> None:
        """A counted loop, tested at its end, behind a guard where it may not run at all."""
        out = self.out
        certain = stop.plus(start, -1).range[0] > 0
        bits = self.width(start, stop.plus(Linear(stmt.step)))
        first, last = self.operand(start, bits), self.operand(stop, bits)
        body_label, exit_label, counter = out.fresh("loop"), out.fresh("done"), out.fresh("%i")
        carried = [b for b in _stored(stmt.body) if b in self.registers]
        before = {b: list(self.registers[b]) for b in carried}
        entry, scope = out.label, out.begin()
        phis = self._enter(body_label, carried)
        reach = (start.range[0], stop.range[1] - 1)
        old = self.variables.get(stmt.var)
        self.variables[stmt.var] = self.atom(counter, reach, bits=bits)
        self.block(stmt.body)
        self._restore(stmt.var, old)
        following = out.emit(f"add nuw nsw i{bits} {counter}, {stmt.step}")
        again = out.emit(f"icmp slt i{bits} {following}, {last}")
        repetitions = _repetitions(start, stop, stmt.step)
        out.line(f"br i1 {again}, label %{body_label}, label %{exit_label}{repetitions}")
        latch = out.label
        head = [f"{body_label}:", f"  {counter} = phi i{bits} [ {first}, %{entry} ], [ {following}, %{latch} ]"]
        for buffer, names in phis.items():
            kind = self._register_types[buffer]
            for name, initial, final in zip(names, before[buffer], self.registers[buffer], strict=True):
                head.append(f"  {name} = phi {kind} [ {initial}, %{entry} ], [ {final}, %{latch} ]")
        out.end()
        guard = "" if certain else f"icmp slt i{bits} {first}, {last}"
        self._place_loop(scope.hoisted, head + scope.lines, guard, body_label, exit_label)
        if not certain:
            self._merge(carried, [(entry, before), (latch, {b: self.registers[b] for b in carried})])

    def _enter(self, label: str, carried: Sequence[str]) -> Registers:
        """Give every register that the loop changes a name that its phi will define."""
        self.out.label = label
        phis = {b: [self.out.fresh("%r") for _ in self.registers[b]] for b in carried}
        self.registers.update({b: list(names) for b, names in phis.items()})
        return phis

    def _place_loop(self, hoisted: list[str], lines: list[str], guard: str, body: str, done: str) -> None:
        """`guard`: what tells whether the loop runs at all; empty if it does."""
        out = self.out
        out.scope.lines += hoisted
        if not guard:
            out.line(f"br label %{body}")
        else:
            runs = out.emit(guard)
            out.line(f"br i1 {runs}, label %{body}, label %{done}")
        out.scope.lines += lines
        out.start_block(done)


def _repetitions(start: Linear, stop: Linear, step: int) -> str:
    """How often a loop goes on for each time that it ends, where that is known, for LLVM.

    LLVM takes a loop for one of 32 steps. It would keep in registers what short loops in loops use, such as the
    constants of gelu behind the sums of a tile, and sums of a long one beside them in memory.
    """
    extent = stop.plus(start, -1)
    if extent.terms:
        return ""
    steps = min(-(-extent.constant // step), _MOST_STEPS)
    return f', !prof !{{!"branch_weights", i32 {steps - 1}, i32 1}}'


def _is_stored(bound: Let, following: Sequence[Stmt]) -> bool:
    """True if the next statement stores what this one names."""
    after = following[0] if following else None
    return isinstance(after, Store) and isinstance(after.value, Var) and after.value.name == bound.name


def _access(buffer: Buffer) -> str:
    return " readonly" if buffer.space is Space.ARGUMENT else ""


def _stored(body: Sequence[Stmt]) -> tuple[str, ...]:
    """Names of the register buffers that a block writes."""
    return tuple(
        dict.fromkeys(
            s.buffer.name for s in statements(body) if isinstance(s, Store) and s.buffer.space is Space.REGISTER
        )
    )
