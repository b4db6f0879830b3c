"""What expressions of the language evaluate to, and how messages speak of it.

Compile-time values are Python's own: int, float, bool, str, None and tuples (the language's lists). A tensor is a
`Value` of the graph. What can be called is a `Definition` of the user's, a layer, an operator or a builtin function.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, Union, get_args, get_origin

from ..compiler.errors import Location, NetcError
from ..compiler.graph.ir import Operator, Value
from ..compiler.ops.layer import Layer
from ..compiler.text import shortened
from . import ast
from .budget import Budget

Tensor = Value


@dataclass(frozen=True, eq=False, slots=True)
class Definition:
    """A net, block, func, gradient or specialisation, and the scope in which its body is read."""

    node: ast.Net | ast.Block | ast.Func | ast.Gradient | ast.Specialisation
    scope: Any
    """The `Module` that defines it (not named here: modules hold definitions)."""

    @property
    def name(self) -> str:
        """The name it is defined under; a gradient is called after its block."""
        return f"gradient of {self.node.name.id}" if isinstance(self.node, ast.Gradient) else self.node.name.id

    @property
    def kind(self) -> str:
        """The keyword that defines it."""
        if isinstance(self.node, ast.Func | ast.Gradient):
            return "func" if isinstance(self.node, ast.Func) else "gradient"
        return "block" if isinstance(self.node, ast.Block) else "net"


@dataclass(frozen=True, eq=False, slots=True)
class Builtin:
    """A function of the language over compile-time values; tensors go to the operator `operator`, if there is one."""

    name: str
    function: Callable[..., Any]
    operator: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A function that works at the place of its call, such as `param`, which makes a parameter there."""

    name: str
    function: Callable[..., Any]
    """Takes the `CallSite`, the label (None without one) and the `Arguments`."""


@dataclass(frozen=True, eq=False, slots=True)
class Shared:
    """A block or layer that is bound to a path: all its calls have the same parameters."""

    callee: Definition | Layer
    path: str
    named: Mapping[str, Any]
    """Arguments that each call gets, as `Given`, unless it has its own."""
    made: set[str]
    """The parameters that its calls have made so far."""

    @property
    def name(self) -> str:
        """The name of what is shared."""
        return self.callee.name


Callee = Definition | Layer | Operator | Builtin | Placed | Shared


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """Values by name."""

    fields: Mapping[str, Any]


class Poisoned(Exception):  # noqa: N818 (not an error of its own)
    """Raised where a value is needed that an error, reported already, has left undefined."""


LABEL = re.compile(r"[A-Za-z0-9_]+([.\-/][A-Za-z0-9_]+)*")
"""What stands after `@`, and names of parameters: words of letters, digits and _, joined by dots."""


def checked_label(label: str, location: Location) -> str:
    """The label, if it can be part of a parameter's name."""
    if not LABEL.fullmatch(label):
        hint = "letters, digits and _, joined by dots"
        raise error(f"\"{label}\" can't be a part of a parameter's name", location, hint)
    return label


def join(path: str, name: str) -> str:
    """Append to a dotted path; an empty name adds nothing."""
    return f"{path}.{name}" if path and name else path or name


def error(message: str, location: Location | None = None, hint: str | None = None) -> NetcError:
    """An error at a place in the text."""
    return NetcError(message, location=location, hint=hint)


@dataclass(frozen=True, slots=True)
class Applying:
    """Around the work of a layer or an operator: its errors get a place.

    Shape rules check what is likely to be wrong; whatever else they stumble over, such as text in a list of sizes, is
    the user's to cure all the same.
    """

    name: str
    location: Location

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if problem is None:
            return
        if isinstance(problem, NetcError):
            raise problem.at(self.location) from None
        if isinstance(problem, TypeError | ValueError | LookupError | ArithmeticError | MemoryError):
            raise error(f"{self.name} can't work with these arguments", self.location) from None


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a compile-time number (truth values are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_callee(value: object) -> TypeGuard[Callee]:
    """Whether `value` can be called."""
    return isinstance(value, Callee)


def contains_tensor(value: object, budget: Budget) -> bool:
    """Whether `value` is a tensor or a list that holds one. Lists may share lists: looking through them is work."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Tensor):
            return True
        if isinstance(item, Record):
            item = tuple(item.fields.values())
        if isinstance(item, tuple):
            budget.look_through(len(item))
            pending += item
    return False


def text(value: object) -> str:
    """A value as the language writes it; long lists are cut."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        items = [_item(v) for v in value[:8]]
        return "[" + ", ".join(items + ["..."] * (len(value) > 8)) + "]"
    if isinstance(value, Record):
        nested = (Record, tuple)
        items = [f"{k}: {text(v) if not isinstance(v, nested) else '...'}" for k, v in [*value.fields.items()][:8]]
        return "{" + ", ".join(items + ["..."] * (len(value.fields) > 8)) + "}"
    if isinstance(value, Tensor):
        return str(value.type)
    if is_callee(value):
        return value.name
    return str(value)


def _item(value: object) -> str:
    """An item of a list; what holds further values is cut."""
    if isinstance(value, Record):
        return "{...}"
    return text(value) if not isinstance(value, tuple) else "[...]" if value else "[]"


def describe(value: object) -> str:
    """A value with its kind, for messages: "the number 3", "a tensor f32[1,10]"."""
    if isinstance(value, Tensor):
        return f"a tensor {value.type}"
    if isinstance(value, bool) or value is None:
        return f"`{text(value)}`"
    if isinstance(value, str):
        return f'the text "{value if len(value) <= 60 else value[:60] + "..."}"'
    if is_number(value):
        return f"the number {value}"
    if isinstance(value, tuple):
        return f"the list {shortened(text(value), 200)}"
    if isinstance(value, Record):
        return f"the record {shortened(text(value), 200)}"
    if isinstance(value, Definition):
        return f"the {value.kind} {value.name}"
    if isinstance(value, Shared):
        return f"the shared {describe(value.callee).removeprefix('the ')}"
    if isinstance(value, Operator):
        return f"the operator {value.name}"
    if isinstance(value, Builtin | Placed):
        return f"the function {value.name}"
    return f"the {type(value).__name__.lower()} {text(value)}"


def list_of(annotation: Any) -> Any:
    """The annotation of lists of a kind."""
    return types.GenericAlias(tuple, (annotation, ...))


def fits(annotation: Any, value: object, budget: Budget) -> bool:
    """Whether a value belongs to a kind, given as a Python annotation (int, `tuple[int, ...]`, unions, ...)."""
    if annotation is Any or annotation is object:
        return True
    plain = type(annotation) is type  # asking `typing` takes longer than all else here
    origin, arguments = (None, ()) if plain else (get_origin(annotation), get_args(annotation))
    if origin in (Union, types.UnionType):
        return any(fits(a, value, budget) for a in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        budget.look_through(len(value))
        if arguments == (Any, ...):
            return True
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(arguments[0], item, budget) for item in value)
        pairs = zip(arguments, value, strict=False)
        return len(value) == len(arguments) and all(fits(a, v, budget) for a, v in pairs)
    if annotation is None or annotation is types.NoneType:
        return value is None
    if annotation is float:
        return is_number(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


_KINDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "truth values"),
    str: ("text", "texts"),
    tuple: ("a list", "lists"),
    Tensor: ("a tensor", "tensors"),
    Callee: ("a block", "blocks"),
    Record: ("a record", "records"),
    None: ("none", "none"),
    types.NoneType: ("none", "none"),
}


def describe_kind(annotation: Any, plural: bool = False) -> str:
    """A kind in words: "a whole number or a list of whole numbers"."""
    if annotation in _KINDS:
        return _KINDS[annotation][plural]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        names = dict.fromkeys(describe_kind(a, plural) for a in arguments if a is not types.NoneType)
        if "a number" in names:
            names.pop("a whole number", None)
        return " or ".join(names)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"{'lists' if plural else 'a list'} of {describe_kind(arguments[0], plural=True)}"
        return f"{'lists' if plural else 'a list'} of {len(arguments)} {describe_kind(arguments[0], plural=True)}"
    return "any value"
