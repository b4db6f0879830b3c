"""Writing one LLVM function as text: names, blocks, scopes, and loop-invariant code that goes before its loop.

A scope is a region with one entry (a loop body, a branch). Pure operations are written once into the outermost scope
in which their operands exist, so the text needs no common-subexpression or loop-invariant pass afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Scope:
    """A region that is being written. `hoisted` will stand before the region's entry."""

    depth: int
    lines: list[str] = field(default_factory=list[str])
    hoisted: list[str] = field(default_factory=list[str])
    cache: dict[object, str] = field(default_factory=dict[object, str])


class FunctionWriter:
    """Collects the instructions of a function."""

    def __init__(self) -> None:
        self.entry: list[str] = []
        self.scopes: list[Scope] = [Scope(0)]
        self.label = "entry"
        self._count = 0
        self._depths: dict[str, int] = {}

    @property
    def scope(self) -> Scope:
        """The innermost open scope."""
        return self.scopes[-1]

    @property
    def depth(self) -> int:
        """Depth of the innermost scope."""
        return len(self.scopes) - 1

    def fresh(self, prefix: str = "%v") -> str:
        """A name that was not used before."""
        self._count += 1
        return f"{prefix}{self._count}"

    @property
    def order(self) -> int:
        """A number that grows with every name."""
        return self._count

    def line(self, text: str) -> None:
        """Write an instruction without a result."""
        self.scopes[-1].lines.append("  " + text)

    def emit(self, text: str) -> str:
        """Write an instruction and return the name of its result."""
        self._count += 1
        name = f"%v{self._count}"
        self.scopes[-1].lines.append(f"  {name} = {text}")
        self._depths[name] = len(self.scopes) - 1
        return name

    def depth_of(self, *operands: str) -> int:
        """The depth from which on operands exist; of what isn't known, such as a loop's counter, it is here.

        What a scope that is closed by now has left exists from here on, too.
        """
        known = (self._depths.get(o, self.depth) if o[0] == "%" else 0 for o in operands)
        return min(max(known, default=0), self.depth)

    def pure(self, depth: int, text: str) -> str:
        """The value of an instruction without effects whose operands exist from scope `depth` on."""
        scope = self.scopes[depth]
        found = scope.cache.get(text)
        if found is None:
            self._count += 1
            found = scope.cache[text] = f"%v{self._count}"
            lines = scope.lines if depth == self.depth else self.scopes[depth + 1].hoisted
            lines.append(f"  {found} = {text}")
            self._depths[found] = depth
        return found

    def call(self, result: str, name: str, *arguments: tuple[str, str]) -> str:
        """Call an intrinsic; arguments are (type, operand). LLVM's parser declares intrinsics by itself."""
        return self.emit(f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in arguments)})")

    def begin(self) -> Scope:
        """Open a scope."""
        scope = Scope(len(self.scopes))
        self.scopes.append(scope)
        return scope

    def end(self) -> Scope:
        """Close the innermost scope; the caller places its lines with `place`."""
        return self.scopes.pop()

    def start_block(self, label: str) -> None:
        """Start a basic block in the innermost scope."""
        self.scopes[-1].lines.append(f"{label}:")
        self.label = label
