"""Syntax tree of the .net language: frozen dataclasses, each with the stretch of text it came from.

The tree keeps what the formatter and the diagnostics need (pipes stay pipes, labels stay apart from names) and nothing
of the layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ..compiler.errors import Location


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    location: Location


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A number, `true`, `false` or `none`."""

    value: int | float | bool | None


@dataclass(frozen=True, slots=True)
class String(Node):
    """Text; expressions in braces are replaced by their values."""

    parts: tuple[str | Expr, ...]


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A name, where it is read and where it is bound."""

    id: str


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """`[a, b]` or `(a, b)`; the language makes no difference between lists and tuples."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-x`, `+x`, `not x`."""

    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Arithmetic, `and`, `or`."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`a < b <= c`: every neighbouring pair must compare."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`if condition then yes else no`."""

    condition: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """One argument of a call, by position (`name` is None) or by name."""

    name: str | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`callee@label(arguments)`; as a stage of a pipe the value before `|>` is the first argument."""

    callee: Expr
    label: Expr | None
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Pipe(Node):
    """`value |> stage |> stage`."""

    value: Expr
    stages: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`value[index]`."""

    value: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`start:stop:step` in brackets; each may be left out."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`value[1:, 0, ::2]`."""

    value: Expr
    places: tuple[Expr | Range, ...]


@dataclass(frozen=True, slots=True)
class Field(Node):
    """`name: value` in a record."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class RecordOf(Node):
    """`{name: value, name: value}`."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`value.name`."""

    value: Expr
    name: str


Expr = (
    Literal
    | String
    | Name
    | Sequence
    | Unary
    | Binary
    | Compare
    | Conditional
    | Call
    | Pipe
    | Index
    | Slice
    | RecordOf
    | Member
)


@dataclass(frozen=True, slots=True)
class Targets(Node):
    """`(a, b)` on the left of `=` or after `for`."""

    items: tuple[Target, ...]


Target = Name | Targets


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`target = value`, or `target += value` and the like where `operator` is set."""

    target: Target
    operator: str | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Return(Node):
    """`return value`."""

    value: Expr


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for target in iterable { body }`."""

    target: Target
    iterable: Expr
    body: Body


@dataclass(frozen=True, slots=True)
class While(Node):
    """`while condition { body }`, which goes on at run time."""

    condition: Expr
    body: Body


@dataclass(frozen=True, slots=True)
class If(Node):
    """`if condition { yes } else { no }`."""

    condition: Expr
    yes: Body
    no: Body | None


@dataclass(frozen=True, slots=True)
class Next(Node):
    """`next(state) = value`."""

    state: Expr
    value: Expr


Statement = Assign | Return | For | While | If | Next


@dataclass(frozen=True, slots=True)
class Body(Node):
    """Statements in braces."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Annotation(Node):
    """`int`, `int[]` (sizes are empty), `f32[N, 28, 28, 1]` or `i8[N, 10]<0.5:-3>`."""

    name: str
    sizes: tuple[Expr, ...] | None
    quantization: str | None = None
    """What integers stand for, as in the text of a graph."""


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """An input or a hyperparameter of a definition."""

    name: Name
    annotation: Annotation | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`import "file.net"`."""

    path: str


@dataclass(frozen=True, slots=True)
class Procedure(Node):
    """Base of the definitions that have parameters and a body."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Net(Procedure):
    """An entry point with typed inputs."""


@dataclass(frozen=True, slots=True)
class Block(Procedure):
    """A piece of a network."""


@dataclass(frozen=True, slots=True)
class Func(Procedure):
    """Compile-time arithmetic."""


@dataclass(frozen=True, slots=True)
class Gradient(Procedure):
    """How a block is differentiated; `name` is the block's. The last two parameters: its result, the cotangent."""


@dataclass(frozen=True, slots=True)
class Specialisation(Node):
    """`net name = base(hyperparameter = value)`."""

    name: Name
    base: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`key = value` in a recipe or a preprocessing."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Train(Node):
    """The recipe that trains a net."""

    net: Name
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Preprocess(Node):
    """What a picture goes through before it enters a net."""

    net: Name
    settings: tuple[Setting, ...]


Definition = Import | Net | Block | Func | Gradient | Specialisation | Train | Preprocess


def walk(root: Node) -> Iterator[Node]:
    """`root` and all nodes below it, in the order of the text."""
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        yield node
        children: list[Node] = []
        for item in fields(node):
            value = getattr(node, item.name)
            values = value if isinstance(value, tuple) else (value,)
            children += [v for v in values if isinstance(v, Node)]
        pending += reversed(children)


def names_read(node: Node) -> Counter[str]:
    """How often each name is read within `node`."""
    targets = [child.target for child in walk(node) if isinstance(child, Assign) and child.operator is None]
    targets += [child.target for child in walk(node) if isinstance(child, For)]
    bound = {id(n) for target in targets for n in walk(target)}
    return Counter(n.id for n in walk(node) if isinstance(n, Name) and id(n) not in bound)


def assigned_names(node: Node) -> set[str]:
    """Names that assignments and loops within `node` bind."""
    bound: set[str] = set()
    for child in walk(node):
        if isinstance(child, Assign | For):
            bound |= {n.id for n in walk(child.target) if isinstance(n, Name)}
    return bound
