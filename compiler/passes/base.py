"""What a pass is, and the text form of passes and pipelines: `fold-batch-norm,assign-layouts{pitch=false},cse`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, get_type_hints

from ..errors import NetcError, near_miss
from ..graph.ir import Graph

Option = bool | int | float | str


@dataclass(frozen=True)
class Pass(ABC):
    """A function from graph to graph with a name and typed options (its dataclass fields).

    The graph is sound before and after `run`. A pass returns the graph that it was given if it has nothing to do.
    """

    name: ClassVar[str]
    """Kebab-case; the module is named likewise."""

    @abstractmethod
    def run(self, graph: Graph) -> Graph:
        """Carry out the pass."""

    def __call__(self, graph: Graph) -> Graph:
        """Carry out the pass: `dce(graph)`."""
        return self.run(graph)

    @property
    def doc(self) -> str:
        """First line of the class docstring."""
        return (self.__doc__ or "").strip().splitlines()[0]

    def __str__(self) -> str:
        options = [
            f"{f.name.replace('_', '-')}={_format_option(getattr(self, f.name))}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"{self.name}{{{','.join(options)}}}" if options else self.name


_PASS = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\{([^{}]*)\})?\s*(?:,|$)")
_OPTION = re.compile(r'\s*([A-Za-z][\w-]*)\s*=\s*("[^"]*"|[^,"\s]+)\s*(?:,|$)')


def parse_pipeline(text: str, registry: Mapping[str, type[Pass]]) -> tuple[Pass, ...]:
    """Read a pipeline; raises `NetcError` for unknown passes, unknown options and malformed text."""
    passes: list[Pass] = []
    position = 0
    while text[position:].strip():
        match = _PASS.match(text, position)
        if match is None:
            raise NetcError(
                f"`{text[position:].strip()}` is not a list of passes", hint="write for example cse,fuse{limit=8},dce"
            )
        passes.append(_make_pass(match[1], match[2] or "", registry))
        position = match.end()
    return tuple(passes)


def format_pipeline(passes: Sequence[Pass]) -> str:
    """The text that `parse_pipeline` reads."""
    return ",".join(map(str, passes))


def _make_pass(name: str, text: str, registry: Mapping[str, type[Pass]]) -> Pass:
    if name not in registry:
        hint = near_miss(name, registry) or "there are " + ", ".join(registry)
        raise NetcError(f"there is no pass `{name}`", hint=hint)
    kind = registry[name]
    declared = {f.name.replace("_", "-"): f for f in fields(kind)}
    hints = get_type_hints(kind)
    options: dict[str, Option] = {}
    for key, value in _split_options(name, text):
        if key not in declared:
            raise NetcError(f"the pass {name} has no option `{key}`", hint=near_miss(key, declared))
        field = declared[key]
        options[field.name] = _read_option(f"option `{key}` of {name}", value, hints[field.name])
    missing = [key for key, f in declared.items() if f.name not in options and _is_required(f)]
    if missing:
        raise NetcError(f"the pass {name} needs the option `{missing[0]}`")
    return kind(**options)


def _split_options(name: str, text: str) -> list[tuple[str, str]]:
    options: list[tuple[str, str]] = []
    position = 0
    while text[position:].strip():
        match = _OPTION.match(text, position)
        if match is None:
            raise NetcError(f"`{text[position:].strip()}` is not a list of options of {name}", hint="write key=value")
        options.append((match[1], match[2].strip('"')))
        position = match.end()
    return options


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read_option(what: str, text: str, kind: type[Option]) -> Option:
    if kind is bool:
        if text not in ("true", "false"):
            raise NetcError(f"{what} is true or false, not `{text}`")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise NetcError(f"{what} is a number of type {kind.__name__}, not `{text}`") from None


def _format_option(value: Option) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if re.fullmatch(r'[^,"\s{}]+', text) else f'"{text}"'
