"""Text of blocks and nets in the style of the shipped models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .items import Block, Body, Call, Choice, Expr, Item, Leaf, Loop, Var
from .leaves import names_in
from .lists import APPEND, LIST
from .literals import UnsayableError
from .naming import RECORD, TENSORS, free
from .plan import LONG, Plan
from .proposals import RANGE, SLICE
from .terms import WIDTH, folded, label_text, path_text, same_value, sequence_text, value_text

_LOOSE = 0
_COMPARED, _SUMS, _PRODUCTS, _POWERS, _TIGHT = 1, 2, 3, 4, 9
_BINDING = {"+": _SUMS, "-": _SUMS, "*": _PRODUCTS, "/": _PRODUCTS, "%": _PRODUCTS, "**": _POWERS}


@dataclass(frozen=True, slots=True)
class _Text:
    """An expression: what it begins with, and the calls that follow, each as what is called and its other arguments."""

    head: str
    stages: tuple[tuple[str, str], ...] = ()
    binding: int = _TIGHT

    def __str__(self) -> str:
        if not self.stages:
            return self.head
        head, stages = self.head, self.stages
        if len(stages) == 1 or self.binding < _TIGHT or "(" in head:
            head, stages = _called(stages[0], head), stages[1:]
        return " |> ".join([head, *(_stage(s) for s in stages)])

    @property
    def length(self) -> int:
        return len(str(self))

    def inside(self, binding: int) -> str:
        """As an operand of a sign that binds so."""
        text = str(self)
        own = _LOOSE if " |> " in text and self.stages else _TIGHT if self.stages else self.binding
        return f"({text})" if own < binding else text


def _called(stage: tuple[str, str], head: str) -> str:
    callee, rest = stage
    return f"{callee}({head}{', ' if rest else ''}{rest})"


def _stage(stage: tuple[str, str]) -> str:
    callee, rest = stage
    return f"{callee}({rest})" if rest else callee


def definition(
    head: str,
    body: Body,
    names: Mapping[Var, str],
    result: Sequence[str] | None = None,
) -> str:
    """A net whose tensors have these names; with `result` it gives a record."""
    writer = _Writer(dict(names), {}, frozenset())
    lines = writer.lines(body, "  ", result=result, returns=True)
    return "\n".join([f"{head} {{", *lines, "}"]) + "\n"


def import_text(file: str) -> str:
    """An import of another file."""
    return f"import {value_text(file)}"


def preprocess_text(net: str, settings: Mapping[str, Any]) -> str:
    """What pictures go through before they enter a net."""
    lines = [line for k, v in settings.items() for line in folded(f"  {k} = {_setting(v)}", "    ")]
    return "\n".join([f"preprocess {net} {{", *lines, "}"]) + "\n"


def _setting(value: Any) -> str:
    """A setting; numbers as the shortest text that gives them again."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    return value_text(tuple(value) if isinstance(value, list) else value)


def block_text(block: Block) -> str:
    """The definition of a block."""
    names = dict(zip(block.body.params, TENSORS, strict=False))
    settings = [s.name if s.default is ... else f"{s.name} = {value_text(s.default)}" for s in block.settings]
    head = f"block {block.name}({', '.join([*names.values(), *settings])}) {{"
    used = _names_used(block.body.items)
    kept = frozenset({"x"}) if used & {"channels", "N"} else frozenset[str]()
    writer = _Writer(names, {"N": "shape(x)[0]"}, kept)
    return "\n".join([*folded(head, "  "), *writer.lines(block.body, "  ", returns=True), "}"]) + "\n"


def _names_used(items: Sequence[Item]) -> set[str]:
    """All names in expressions in there."""
    found: set[str] = set()
    for item in items:
        if isinstance(item, Loop):
            found |= _names_used(item.body.items)
            values: list[Leaf] = [c.value for c in item.columns]
        else:
            values = [s.value for s in item.slots]
        while values:
            value = values.pop()
            if isinstance(value, Expr):
                found.update(names_in(value.text))
            elif isinstance(value, tuple):
                values.extend(value)
    return found


@dataclass(eq=False)
class _Writer:
    """Writes the statements of a body; `values` says what names of parameters stand for inside loops over records."""

    names: dict[Var, str]
    values: dict[str, str]
    reserved: frozenset[str]
    """Names that hold something else which is still needed."""
    texts: dict[Var, _Text] = field(default_factory=dict)

    def lines(
        self,
        body: Body,
        indent: str,
        *,
        result: Sequence[str] | None = None,
        returns: bool = False,
        carried: Mapping[Var, str] | None = None,
    ) -> list[str]:
        """The statements; `carried` are the names that the body's results must have at its end."""
        plan = Plan.of(body, {} if returns else dict.fromkeys(body.outs))
        lines: list[str] = []
        alive = {name: var for var, name in self.names.items() if var in set(body.params)}
        for at, item in enumerate(plan.statements):
            if isinstance(item, Loop):
                lines += self._loop(item, at, plan, alive, indent)
                continue
            if isinstance(item.callee, Choice):
                lines += self._choice(item, item.callee, at, plan, alive, indent)
                continue
            if not item.results:  # `next`
                value, state = (self._operand(v, plan) for v in item.operands)
                lines += folded(f"{indent}next({state}) = {value}", indent + "    ")
                continue
            text = self._text(item, plan)
            targets = []
            for var in item.results:
                wanted = (carried or {}).get(var)
                name = self._name(var, at, plan, alive, item, wanted)
                alive[name] = var
                targets.append(name)
            for var, name in zip(item.results, targets, strict=True):
                self.names[var] = name
            lines += folded(f"{indent}{', '.join(targets)} = {text}", indent + "    ")
        if returns:
            lines += folded(f"{indent}return {self._result(body, result, plan)}", indent + "    ")
        elif carried:
            wrong = [(name, self.names[var]) for var, name in carried.items() if self.names[var] != name]
            if len(wrong) == 1:
                lines.append(f"{indent}{wrong[0][0]} = {wrong[0][1]}")
            elif wrong:
                targets = [name for name, _ in wrong]
                lines.append(f"{indent}{', '.join(targets)} = [{', '.join(now for _, now in wrong)}]")
        return lines

    def _result(self, body: Body, result: Sequence[str] | None, plan: Plan) -> str:
        texts = [str(self._operand(v, plan)) for v in body.outs]
        if result is not None:
            return "{" + ", ".join(f"{name}: {text}" for name, text in zip(result, texts, strict=True)) + "}"
        return ", ".join(texts)

    # ---- names

    def _name(self, var: Var, at: int, plan: Plan, alive: dict[str, Var], item: Call, wanted: str | None = None) -> str:
        """A name that holds nothing any more that is read behind statement `at`."""
        first = self._root(item, plan)
        root = [self.names[first]] if first in self.names and self.names[first] in TENSORS else []
        candidates = [*([wanted] if wanted else []), *root, *TENSORS]
        for name in candidates:
            if name in self.reserved and name != wanted:
                continue
            if name not in alive or (plan.last.get(alive[name], -1) <= at and alive[name] not in item.results):
                return name
        return free("x", {*alive, *self.reserved})

    def _root(self, item: Call, plan: Plan) -> Var | None:
        """The tensor that an expression begins with."""
        while item.operands:
            inner = plan.inlined.get(item.operands[0])
            if inner is None:
                return item.operands[0]
            item = inner
        return None

    # ---- conditions and loops

    def _choice(self, item: Call, choice: Choice, at: int, plan: Plan, alive: dict[str, Var], indent: str) -> list[str]:
        """`if condition { ... } else { ... }`, whose branches leave their results under the same names."""
        condition = self._operand(item.operands[0], plan)
        read = replace(item, operands=item.operands[1:])
        targets: list[str] = []
        for var in item.results:
            name = self._name(var, at, plan, alive, read)
            alive[name] = var
            targets.append(name)
        reserved = self.reserved | (set(alive) - set(targets))
        branches = [self._branch(body, targets, reserved, indent + "  ") for body in (choice.yes, choice.no)]
        self.names.update(zip(item.results, targets, strict=True))
        lines = [*folded(f"{indent}if {condition} {{", indent + "    "), *branches[0]]
        return [*lines, *([f"{indent}}} else {{", *branches[1]] if branches[1] else []), f"{indent}}}"]

    def _branch(self, body: Body, targets: Sequence[str], reserved: frozenset[str], indent: str) -> list[str]:
        """The statements of a branch; a tensor that it leaves twice is copied."""
        carried: dict[Var, str] = {}
        copies: list[str] = []
        for var, name in zip(body.outs, targets, strict=True):
            if var in carried:
                copies.append(f"{indent}{name} = {carried[var]}")
            else:
                carried[var] = name
        writer = _Writer(dict(self.names), self.values, reserved)
        return [*writer.lines(body, indent, carried=carried), *copies]

    def _loop(self, loop: Loop, at: int, plan: Plan, alive: dict[str, Var], indent: str) -> list[str]:
        lines: list[str] = []
        count = len(loop.results)
        names: list[str] = []
        others = set(loop.operands[count:])
        for var, result in zip(loop.operands[:count], loop.results, strict=True):
            name = self.names[var]
            if plan.last.get(var, -1) > at or var in others or name in names or name in self.reserved:
                held = {n for n, v in alive.items() if plan.last.get(v, -1) >= at} | self.reserved | set(names)
                new = next((n for n in TENSORS if n not in held), None) or free("x", held)
                lines.append(f"{indent}{new} = {name}")
                name = new
            names.append(name)
            self.names[result] = name
        inner = dict(zip(loop.body.params, [*names, *(self.names[v] for v in loop.operands[count:])], strict=True))
        needed = {n for n, v in alive.items() if plan.last.get(v, -1) > at} | {self.names[v] for v in others}
        head, values = self._head(loop)
        if loop.asked is not None:  # what has a value before is carried, too
            needed |= set(alive)
        writer = _Writer(inner, {**self.values, **values}, self.reserved | (needed - set(names)))
        if loop.asked is not None:
            head = f"while {writer.expression(loop.asked)}"
        carried = dict(zip(loop.body.outs, names, strict=True))
        body = writer.lines(loop.body, indent + "  ", carried=carried)
        for name, result in zip(names, loop.results, strict=True):
            alive[name] = result
        if len(body) == 1 and len(head) + len(body[0]) < WIDTH - 4 and "\n" not in head:
            return [*lines, f"{indent}{head} {{ {body[0].strip()} }}"]
        return [*lines, *folded(f"{indent}{head} {{", indent + "    "), *body, f"{indent}}}"]

    def _head(self, loop: Loop) -> tuple[str, dict[str, str]]:
        """`for i in range(3)`, and what variables are called inside."""
        columns = loop.columns
        if not columns:
            return f"for _ in range({loop.turns})", {}
        if len(columns) == 1:
            return f"for {columns[0].name} in {sequence_text(columns[0].value, self.values)}", {}
        names = [c.name for c in columns]
        if any(isinstance(c.value, Expr) for c in columns):
            lists = ", ".join(sequence_text(c.value, self.values) for c in columns)
            return f"for ({', '.join(names)}) in zip({lists})", {}
        rows = list(zip(*(c.value for c in columns), strict=True))
        if len(columns) == 2:
            text = ", ".join(f"[{', '.join(sequence_text(v) for v in row)}]" for row in rows)
            return f"for ({', '.join(names)}) in [{text}]", {}
        return f"for {RECORD} in {_records(names, rows)}", {name: f"{RECORD}.{name}" for name in names}

    # ---- expressions

    def expression(self, body: Body) -> str:
        """What a body gives, all its calls written into each other."""
        inlined: dict[Var, Call] = {}
        for item in body.items:
            if isinstance(item, Loop) or isinstance(item.callee, Choice) or len(item.results) != 1:
                raise UnsayableError("the language has no condition of a loop that takes more than an expression")
            inlined[item.results[0]] = item
        text = str(self._operand(body.outs[0], Plan([], inlined, {})))
        if len(text) > LONG:
            raise UnsayableError("the language has no condition of a loop that is so long")
        return text

    def _operand(self, var: Var, plan: Plan) -> _Text:
        if var in plan.inlined:
            return self._text(plan.inlined[var], plan)
        return _Text(self.names[var])

    def _text(self, item: Call, plan: Plan) -> _Text:
        operands = [self._operand(v, plan) for v in item.operands]
        if item.is_infix:
            return self._infix(item, operands)
        if item.callee == LIST:
            return _Text(f"[{', '.join(map(str, operands))}]")
        if item.callee == APPEND:
            return _Text(f"{operands[0].inside(_SUMS)} + [{operands[1]}]", (), _SUMS)
        if item.callee == SLICE:
            return _Text(f"{operands[0].inside(_TIGHT)}[{self._places(item)}]")
        label = label_text(item.label, self.values) if item.label else ""
        arguments = [value_text(s.value, self.values) for s in item.slots if not s.named]
        if item.callee in ("param", "state"):
            assert item.label is not None
            label, arguments = "", [path_text(item.label, self.values), *arguments]
        rest = [str(o) for o in operands[1:]] + arguments
        rest += [
            f"{s.name} = {value_text(s.value, self.values)}"
            for s in item.slots
            if s.named and (isinstance(s.value, Expr) or not same_value(s.value, s.default))
        ]
        stage = f"{item.name}{label}", ", ".join(rest)
        if not operands:
            return _Text(_stage(stage) if stage[1] else f"{stage[0]}()")
        first = operands[0]
        return replace(first, stages=(*first.stages, stage))

    def _places(self, item: Call) -> str:
        """`0, 1:, ::2`."""
        texts: list[str] = []
        parts = ["" if s.value is None else value_text(s.value, self.values) for s in item.slots]
        names = [s.name for s in item.slots]
        while parts:
            if names[0] not in RANGE:
                texts.append(parts[0])
                del parts[0], names[0]
                continue
            start, stop, step = parts[:3]
            texts.append(f"{start}:{stop}:{step}" if step else f"{start}:{stop}")
            del parts[:3], names[:3]
        return ", ".join(texts)

    def _infix(self, item: Call, operands: list[_Text]) -> _Text:
        binding = _BINDING.get(item.name, _COMPARED)
        strict = binding in (_COMPARED, _POWERS)
        slots = {s.name: value_text(s.value, self.values) for s in item.slots}
        if "right" in slots:
            right = f"({slots['right']})" if slots["right"].startswith("-") else slots["right"]
            return _Text(f"{operands[0].inside(binding + strict)} {item.name} {right}", (), binding)
        if "left" in slots:
            left = f"({slots['left']})" if slots["left"].startswith("-") else slots["left"]
            return _Text(f"{left} {item.name} {operands[0].inside(binding + 1)}", (), binding)
        left, right = operands[0].inside(binding + strict), operands[1].inside(binding + 1)
        return _Text(f"{left} {item.name} {right}", (), binding)


def _records(names: Sequence[str], rows: Sequence[Sequence[Leaf]]) -> str:
    """A table of records, one on each line."""
    cells = [[f"{n}: {sequence_text(v)}," for n, v in zip(names, row, strict=True)] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = []
    for row in cells:
        text = " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines += folded(f"    {{{text.rstrip(',')}}},", "      ")
    return "[\n" + "\n".join(lines) + "\n  ]"
