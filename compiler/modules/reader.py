"""Text -> modules: reads what `printer` writes; errors as for kernels (see `loops.parser`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..errors import Location
from ..graph.parser import parse_graph
from ..graph.syntax import MAX_DEPTH
from ..loops.ir import Kernel
from ..loops.kernel_reader import KernelReader
from ..types import TensorType
from .module import Block, Call, Memory, Module, Slot, Turns

_STEPS = ("call", "if", "repeat")
T = TypeVar("T")


def parse_module(text: str, file: str = "<module>") -> Module:
    """Read a module with its set-up graph."""
    reader = _ModuleReader(text, file)
    with reader.located():
        module = reader.module()
    reader.finish()
    return module


class _ModuleReader(KernelReader):
    """Reads a module: memory, kernels, calls and the set-up graph."""

    def module(self) -> Module:
        """A whole module."""
        self.expect("module")
        name = self.name("@")
        self.expect("{")
        self.expect("arena")
        arena = self.integer()
        self.expect("weights")
        weights = self.integer()
        self.expect("at")
        offsets = tuple(self.list_of("[", "]", self.integer))
        places: list[int] = []
        inputs = self.while_word("input", lambda: self.input_tensor(places))
        outputs = self.while_word("output", self.tensor)
        state_bytes = self.integer() if self.skip("state") else 0
        state = self.while_word("at", self.state_tensor)
        kernels: list[Kernel] = []
        while self.token == "kernel":
            kernels.append(self.kernel())
        calls: list[Call] = []
        blocks: list[Block] = []
        turns: list[Turns] = []
        while self.token in (*_STEPS, "turns"):
            self.steps(calls, blocks)
            if self.skip("turns"):
                turns.append(self.module_turns(calls))
        self.expect("setup")
        setup, length = self.text[self.start :], self.text.rindex("}") - self.start
        graph = parse_graph("\n" * (self.location(self.start).line - 1) + setup[:length], self.file)
        return Module(
            name=name,
            kernels=tuple(kernels),
            calls=tuple(calls),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            arena_bytes=arena,
            weights_bytes=weights,
            weight_offsets=offsets,
            setup=self._end(graph),
            state=tuple(state),
            state_bytes=state_bytes,
            blocks=tuple(blocks),
            turns=tuple(turns),
            input_offsets=tuple(places),
        )

    def _end(self, graph: T) -> T:
        self.offset = self.text.rindex("}")
        self.advance()
        self.expect("}")
        return graph

    def steps(self, calls: list[Call], blocks: list[Block], depth: int = 0) -> None:
        """Calls, conditions and loops."""
        while self.token in _STEPS:
            word = self.advance()
            if word == "call":
                calls.append(self.module_call())
                continue
            if depth > MAX_DEPTH:
                self.fail(f"blocks nest more than {MAX_DEPTH} deep")
            first, inner = len(calls), list[Block]()
            if word == "repeat":
                self.expect("{")
                self.steps(calls, inner, depth + 1)
                self.expect("}")
                self.expect("while")
            body, when = len(calls), self.slot()
            self.expect("{")
            self.steps(calls, inner, depth + 1)
            self.expect("}")
            blocks += [Block(first, body, len(calls), when, word == "repeat"), *inner]

    def module_turns(self, calls: list[Call]) -> Turns:
        """Turns after their keyword; what they make is appended to `calls`."""
        count = self.integer()
        self.expect("shares")
        shares, first = self.integer(), len(calls)
        self.expect("{")
        calls += self.while_word("call", self.module_call)
        self.expect("}")
        return Turns(first, len(calls), count, shares)

    def while_word(self, word: str, item: Callable[[], T]) -> list[T]:
        """Items that each start with a word."""
        items: list[T] = []
        while self.skip(word):
            items.append(item())
        return items

    def input_tensor(self, places: list[int]) -> tuple[str, TensorType]:
        """An input, perhaps after its place in the arena."""
        if self.skip("at"):
            places.append(self.integer())
        return self.tensor()

    def state_tensor(self) -> tuple[str, TensorType, int]:
        """A parameter in the state region, after `at`."""
        offset = self.integer()
        name, type_ = self.tensor()
        return name, type_, offset

    def module_call(self) -> Call:
        """A call after its keyword."""
        kernel = self.name("@")
        slots = tuple(self.list_of("(", ")", self.slot))
        label = self.unquoted(self.take("string", "a label in quotes")) if self.skip("label") else ""
        macs = self.integer() if self.skip("macs") else 0
        barrier = self.skip("barrier")
        announces = self.skip("announces")
        when = self.slot() if self.skip("when") else None
        place = self.place() if self.skip("at") else None
        return Call(kernel, slots, barrier, label, macs, place, when, announces)

    def slot(self) -> Slot:
        """`arena[64]`, `input[0] + 16 * turn` or `arena[64] + 128 * share`."""
        names = {m.value: m for m in Memory}
        if self.token not in names:
            self.fail(f"expected one of {', '.join(names)}, found {self.found}")
        memory = names[self.advance()]
        self.expect("[")
        offset = self.integer()
        self.expect("]")
        steps = {"turn": 0, "share": 0}
        while self.skip("+"):
            step = self.integer()
            self.expect("*")
            if self.token not in steps:
                self.fail(f"expected turn or share, found {self.found}")
            steps[self.advance()] = step
        return Slot(memory, offset, **steps)

    def place(self) -> Location:
        """`"file":1:2`, or with the end `"file":1:2:1:9`."""
        file = self.unquoted(self.take("string", "a file in quotes"))
        numbers: list[int] = []
        while self.skip(":"):
            numbers.append(self.integer())
        if len(numbers) not in (2, 4):
            self.fail("a place is a line and a column, perhaps with those of its end")
        return Location(file, *numbers)
