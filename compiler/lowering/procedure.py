"""Lowering of operators that state their loops themselves (`Operator.procedure`): one kernel for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import InternalError
from ..graph.ir import Operation
from ..loops.ir import Buffer, Const, Expr, For, Kernel, Let, Load, LoopKind, Space, Stmt, Store, Var
from ..targets.target import Target
from ..types import DType, TensorType
from .elements import physical
from .group import Group
from .kernel import Names, Scheduled
from .loops import kind_for, loop, vector_loop


def schedule_procedure(group: Group, target: Target) -> tuple[Scheduled, ...]:
    """The kernel of a procedural operator; it shares none with others."""
    if len(group.members) != 1 or len(group.results) != 1:
        raise InternalError(f"{group.label} can't be one kernel: {group.anchor.name} states its own loops")
    op = group.anchor
    memory = Memory(op, target.vector_lanes)
    body = op.operator.procedure(memory, op.attributes)
    kernel = Kernel("", (*memory.operands, memory.output), tuple(body))
    return (Scheduled(kernel, (*op.operands, group.operation.result)),)


@dataclass
class Memory:
    """The `Procedure` of an operation whose operands and result lie in memory, margins included."""

    operation: Operation
    lanes: int
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        self.operands = [
            Buffer(f"x{i}", v.type.dtype, v.type.buffer_shape) for i, v in enumerate(self.operation.operands)
        ]
        result = self.operation.result.type
        self.output = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)

    def type(self, operand: int) -> TensorType:
        """Type of an operand."""
        return self.operation.operands[operand].type

    @property
    def result(self) -> TensorType:
        """Type of the result."""
        return self.operation.result.type

    def fresh(self, stem: str) -> str:
        """A new name."""
        return self.names.fresh(stem)

    def load(self, operand: int, index: tuple[Expr, ...], lanes: int = 1) -> Expr:
        """Elements of an operand."""
        return Load(self.operands[operand], physical(self.type(operand), index), lanes)

    def read(self, index: tuple[Expr, ...], lanes: int = 1) -> Expr:
        """Elements of the result."""
        return Load(self.output, physical(self.result, index), lanes)

    def store(self, index: tuple[Expr, ...], value: Expr) -> Stmt:
        """Write elements of the result."""
        return Store(self.output, physical(self.result, index), value)

    def let(self, block: list[Stmt], stem: str, value: Expr) -> Var:
        """A value under a name."""
        statement = Let(self.names.fresh(stem), value)
        block.append(statement)
        return statement.var

    def local(self, stem: str, dtype: DType, shape: tuple[int, ...]) -> Buffer:
        """Memory of the kernel's own."""
        return Buffer(self.names.fresh(stem), dtype, shape, Space.STACK)

    def loop(self, stem: str, extent: int, body: Callable[[Expr], list[Stmt]], *, shared: int = 0) -> list[Stmt]:
        """`body` for each number below `extent`."""
        name = self.names.fresh(stem)
        if extent > 1 and kind_for(shared) is LoopKind.PARALLEL:
            return [For(name, Const(0), Const(extent), tuple(body(Var(name))), LoopKind.PARALLEL)]
        return loop(name, extent, body) if extent else []

    def vectors(self, extent: int, body: Callable[[Var, int], list[Stmt]]) -> list[Stmt]:
        """`body(first, lanes)` for vectors."""
        return vector_loop(self.names, extent, self.lanes, body) if extent else []
