"""Files and their imports: reading, parsing, and the scope in which each file's names are looked up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.foreign import HEAD, cure_as_network
from ..compiler.graph.registry import operators
from ..compiler.ops.layer import layers
from ..compiler.reading import lies_below, read_bytes
from . import ast
from .budget import MAX_FILE, Budget
from .diagnostics import SourceError
from .index import nets_in
from .lexer import is_network
from .parameters import PLACED
from .parser import parse
from .quantized import SUFFIX, Source, Stored
from .roots import models_folder, require_allowed, roots_of
from .tensors import FUNCTIONS
from .values import Callee, Definition, error

MAX_FILES = 100
"""Most files that a net may be spread over."""

WORDS = ("same", "valid")
"""Names that stand for themselves, as text, where nothing else is called so."""


@dataclass(eq=False)
class Module:
    """One parsed file."""

    file: str
    folder: Path | None
    roots: Sequence[Path] = ()
    """The folders that it may read from."""
    definitions: dict[str, Definition] = field(default_factory=dict[str, Definition])
    imports: list[Module] = field(default_factory=list["Module"])
    gradients: dict[str, Definition] = field(default_factory=dict[str, Definition])
    """Gradients that the file gives for its blocks, by the block's name."""
    recipes: list[ast.Train] = field(default_factory=list[ast.Train])
    preprocesses: list[ast.Preprocess] = field(default_factory=list[ast.Preprocess])
    stored: list[Source] = field(default_factory=list[Source])
    """Files of weights that it imports."""
    _found: dict[str, Definition | None] = field(default_factory=dict[str, "Definition | None"])

    def find(self, name: str, location: Location | None = None) -> Definition | None:
        """The definition called `name`: this file's own, or that of an imported file. All files must be loaded."""
        if name in self.definitions:
            return self.definitions[name]
        if name not in self._found:
            self._found[name] = self._imported(name, location)
        return self._found[name]

    def _imported(self, name: str, location: Location | None) -> Definition | None:
        found = {d: None for module in self.reachable() if (d := module.definitions.get(name))}
        if len(found) > 1:
            places = " and ".join(str(d.node.name.location) for d in found)
            raise error(f"`{name}` is defined in two imported files", location, f"at {places}")
        return next(iter(found), None)

    def reachable(self) -> Iterator[Module]:
        """The file and all it imports, directly or not."""
        seen: dict[int, Module] = {}
        pending = [self]
        while pending:
            module = pending.pop()
            if id(module) not in seen:
                seen[id(module)] = module
                yield module
                pending += reversed(module.imports)

    def names(self) -> set[str]:
        """All definitions that the file sees."""
        return {name for module in self.reachable() for name in module.definitions}

    def nets(self) -> dict[str, Definition]:
        """The nets and specialisations that the file defines."""
        return {n: d for n, d in self.definitions.items() if d.kind == "net"}


def library(name: str) -> Callee | str | None:
    """What `name` means everywhere: a layer, a builtin function, an operator or a word."""
    found: Callee | None = layers().get(name) or FUNCTIONS.get(name) or PLACED.get(name)
    if found is None and name in operators() and not operators()[name].internal:
        found = operators()[name]
    return found or (name if name in WORDS else None)


def library_names() -> set[str]:
    """All names that `library` knows."""
    named = (name for name, operator in operators().items() if not operator.internal)
    return {*layers(), *FUNCTIONS, *PLACED, *named, *WORDS}


def unknown_name(name: str, known: Iterable[str], location: Location, *, called: bool = False) -> Diagnostic:
    """The complaint about a name that means nothing."""
    cure = near_miss(name, sorted(known)) or near_miss(name, sorted(library_names()))
    if cure is None and name in ("True", "False", "None"):
        cure = f"write {name.lower()}"
    what = "block, layer or function" if called else "name"
    return Diagnostic(f"there is no {what} `{name}`", location, cure)


class Loader:
    """Reads a file and what it imports; each file is read once. Problems are collected in `diagnostics`."""

    def __init__(self, folder: Path, stored: Mapping[str, Source] = MappingProxyType({})) -> None:
        """`folder` is where the network lies; `stored` are files of weights that needn't be read, by name."""
        self.stored = stored
        self.library_folder = models_folder()
        self.roots = roots_of(folder)
        self.budget = Budget()
        self.modules: dict[Path, Module] = {}
        self.sources: dict[str, str] = {}
        self.diagnostics: list[Diagnostic] = []
        self.files = 0
        """How many files of weights have been read."""
        self._active: list[tuple[Path, str]] = []

    def load(self, path: Path, location: Location | None = None) -> Module:
        """Load a file. `location` is where it is imported; the file that everything starts from may lie anywhere."""
        if location is not None:
            require_allowed(path, self.roots, location)
        key = _identity(path)
        if any(key == active for active, _ in self._active):
            circle = " -> ".join([*(file for _, file in self._active), str(path)])
            raise error("files import each other in a circle", location, circle)
        if key in self.modules:
            return self.modules[key]
        if len(self.modules) + len(self._active) >= MAX_FILES:
            raise error(f"a net may be spread over {MAX_FILES} files at most", location)
        text, name = self._read(path, location), self._shown(path)
        if not is_network(text) and not lies_below(path, self.roots):  # it may be anybody's: nothing of it is shown
            raise error(f"{path} holds no network", location)
        self._active.append((key, name))
        self.modules[key] = self.load_text(text, name, path.parent)
        self._active.pop()
        return self.modules[key]

    def _shown(self, path: Path) -> str:
        """What a file is called in locations; shipped files have the same name wherever netc is installed."""
        shipped = path.is_relative_to(self.library_folder)
        return f"netc/models/{path.relative_to(self.library_folder).as_posix()}" if shipped else str(path)

    def load_text(self, text: str, file: str, folder: Path | None = None) -> Module:
        """Load a text as if it were the file `file`."""
        self.sources[file] = text
        tree = parse(text, file, self.budget)
        self.diagnostics += tree.diagnostics
        module = Module(file, folder, self.roots)
        for definition in tree.definitions:
            self._add(module, definition)
        return module

    def _read(self, path: Path, location: Location | None) -> str:
        """The text of a file, drawn from the budget."""
        try:
            data = read_bytes(path, limit=MAX_FILE - self.budget.file_bytes)
        except NetcError as problem:
            hint = _other_file(path) or _other_kind(path) or problem.diagnostics[0].hint
            raise error(problem.diagnostics[0].message, location, hint) from None
        self.budget.file_bytes += len(data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            line = data.count(b"\n", 0, problem.start) + 1
            what = f"{path} is not UTF-8 text: byte {data[problem.start]:#04x} in line {line}"
            raise error(what, location, _other_kind(path)) from None
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def finish(self) -> None:
        """Raise what was found wrong, if anything."""
        if self.diagnostics:
            raise SourceError(self.diagnostics, self.sources)

    def _add(self, module: Module, node: ast.Definition) -> None:
        if isinstance(node, ast.Import):
            if self.budget.is_spent:  # one complaint about that is enough
                return
            try:
                if node.path.endswith(SUFFIX):
                    module.stored.append(self._weights(node, module))
                else:
                    module.imports.append(self.load(self._find(node.path, module), node.location))
            except NetcError as problem:
                self.diagnostics += problem.diagnostics
        elif isinstance(node, ast.Train):
            module.recipes.append(node)
        elif isinstance(node, ast.Preprocess):
            module.preprocesses.append(node)
        else:
            made = Definition(node, module)
            known = module.gradients if isinstance(node, ast.Gradient) else module.definitions
            if (other := known.setdefault(node.name.id, made)) is not made:
                what = f"the {made.name}" if isinstance(node, ast.Gradient) else f"`{made.name}`"
                place = f"first at {other.node.name.location}"
                self.diagnostics.append(Diagnostic(f"{what} is defined twice", node.name.location, place))

    def _weights(self, node: ast.Import, module: Module) -> Source:
        """What a file of weights says about integers."""
        if node.path in self.stored:
            return self.stored[node.path]
        path = self._find(node.path, module)
        require_allowed(path, self.roots, node.location)
        if len(self.modules) + self.files >= MAX_FILES:
            raise error(f"a net may be spread over {MAX_FILES} files at most", node.location)
        self.files += 1
        try:
            return Stored.read(path, node.location)
        except NetcError as problem:
            raise problem.at(node.location) from None

    def _find(self, name: str, module: Module) -> Path:
        """Imports are relative to the importing file; what isn't there may be a shipped file."""
        beside = Path(name) if module.folder is None else module.folder / name
        shipped = self.library_folder / name
        return shipped if not os.path.exists(beside) and os.path.exists(shipped) else beside


def _identity(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path  # reading it will tell what is wrong


def _other_file(path: Path) -> str | None:
    """The file that may have been meant where there is none: one that defines a net so called, or has a like name."""
    for folder in (path.parent, models_folder()):
        if found := nets_in(folder).get(path.stem):
            return f"the net {path.stem} stands in {found[0].name}"
    try:
        others = [p.name for p in path.parent.iterdir() if p.suffix == ".net" and p.name != path.name]
        return near_miss(path.name, others)
    except (OSError, ValueError):
        return None


def _other_kind(path: Path) -> str | None:
    """What a file is that is called like no network of ours."""
    if path.suffix == ".net":
        return None
    try:
        if not path.is_file():  # a pipe would wait
            return None
        with path.open("rb") as stream:
            return cure_as_network(stream.read(HEAD))
    except (OSError, ValueError):
        return None


def candidates(module: Module, local: Mapping[str, object] | Iterable[str] = ()) -> set[str]:
    """What a misspelt name in a file may have meant."""
    return {*local, *module.names()}
