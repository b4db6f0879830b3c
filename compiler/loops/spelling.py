"""How nodes are written in text: `word<parameters>(operands)`, as the fields of their classes say.

Fields that are expressions are the operands; the others are parameters, unless the word says them. Printer and reader
know nodes by this alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from ..types import DType
from .operations import OPERATIONS

NodeT = TypeVar("NodeT", bound="type[Any]")
PARAMETERS = (DType, int, str)
"""What a parameter can be: an element type, a number, or the name of an operation."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """What a word of the text stands for."""

    node: type[Any]
    """The class of the node, an `Expr`."""
    said: Mapping[str, object]
    """Fields that the word says."""
    operands: tuple[str, ...]
    """Fields that are operands."""
    many: bool = False
    """The only operand is a tuple of them, one or more."""
    parameters: Mapping[str, type] = field(default_factory=dict[str, type])
    """Fields in angle brackets, and what they are."""

    @property
    def count(self) -> int | None:
        """How many operands there are; None for any number but none."""
        return None if self.many else len(self.operands)

    def build(self, parameters: Mapping[str, object], operands: tuple[Any, ...]) -> Any:
        """The node that is written with these parameters and operands."""
        given = (operands,) if self.many else operands
        return self.node(**self.said, **parameters, **dict(zip(self.operands, given, strict=True)))


SPELLINGS: dict[str, Spelling] = {}
"""Words of nodes; those of `Binary` and `Unary` are the names of their operations."""


def spelled(word: str, **said: object) -> Callable[[NodeT], NodeT]:
    """Declare by which word text calls a node (whose other fields have the values in `said`), above its `dataclass`."""

    def declare(node: NodeT) -> NodeT:
        if word in SPELLINGS or word in OPERATIONS:
            raise TypeError(f"{node.__name__}: text has the word {word} already")
        spelling = _derived(node, said)
        node.words = {**vars(node).get("words", {}), word: spelling}
        setattr(node, "operands", property(_getter(spelling)))  # noqa: B010 (for type checkers a property is constant)
        SPELLINGS[word] = spelling
        return node

    return declare


def _derived(node: type[Any], said: Mapping[str, object]) -> Spelling:
    """The spelling that follows from the fields of a node's class."""
    hints = get_type_hints(node)
    kinds = {f.name: hints[f.name] for f in fields(cast(Any, node)) if f.name not in said}
    operands = tuple(name for name, kind in kinds.items() if _is_expression(kind) or _is_many(kind))
    parameters = {name: kind for name, kind in kinds.items() if name not in operands}
    if strange := [name for name, kind in parameters.items() if kind not in PARAMETERS]:
        raise TypeError(f"{node.__name__}.{strange[0]} is neither an operand nor a parameter of the text")
    many = any(_is_many(kinds[name]) for name in operands)
    if many and len(operands) != 1:
        raise TypeError(f"{node.__name__} has a tuple of operands and others beside it")
    return Spelling(node, said, operands, many, parameters)


def _is_expression(kind: object) -> bool:
    return isinstance(kind, type) and hasattr(kind, "words")


def _is_many(kind: object) -> bool:
    """True for `tuple[Expr, ...]`."""
    inner = get_args(kind)
    return get_origin(kind) is tuple and inner[1:] == (...,) and _is_expression(inner[0])


def _getter(spelling: Spelling) -> Callable[[Any], tuple[Any, ...]]:
    """What reads the operands of a node."""
    if not spelling.operands:
        return lambda expr: ()
    get: Callable[[Any], Any] = attrgetter(*spelling.operands)
    one = len(spelling.operands) == 1 and not spelling.many
    return (lambda expr: (get(expr),)) if one else get
