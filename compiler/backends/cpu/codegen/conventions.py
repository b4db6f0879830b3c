"""How the functions that make a network's calls are given what they work on, by the program that they are part of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....modules.module import Module, Turns


class Convention(ABC):
    """How the functions that make a network's calls are given what they work on."""

    parameters: ClassVar[str]
    """With types and names, as they are declared and passed on."""
    meeting: ClassVar[tuple[str, ...]] = ()
    """The lines with which all threads wait for each other, where there may be several."""
    stamps: bool = False
    """Time stamps are taken between calls."""
    notifies: bool = False
    """Whoever runs the program may be called back amid it."""

    @abstractmethod
    def load(self, module: Module) -> list[str]:
        """The lines at the beginning of a function."""

    def suffix(self, segment: int) -> str:
        """Of the names of the pointers to inputs, outputs and state: `%buffer0.1` in segment 1."""
        return ""

    def numbers(self, segment: int) -> tuple[str, ...]:
        """What each kernel is given beside its buffers: which thread it is, of how many."""
        return ()

    def segment(self, number: int, module: Module, touched: Sequence[int], calls: list[str]) -> list[str]:
        """The lines of calls that touch these entries of the table of inputs, outputs and state."""
        return calls

    def alone(self) -> tuple[str, ...]:
        """What a kernel is given beside its buffers where one thread runs it."""
        return ()

    def part(self, number: int, turns: Turns) -> tuple[list[str], str, str, str]:
        """The lines that find the turns that are made here: which share it is, its first turn, and the one behind."""
        return [], "0", "0", str(turns.count)


@dataclass(frozen=True)
class Threaded(Convention):
    """The context of `runtime.ll` has all of it; each thread runs the sequence.

    The next run may bring another table of inputs, outputs and state while a thread that is late has not seen the end
    of this run. So a thread reads the table amid a share, before whose end the run can't end.
    """

    stamps: bool = False
    notifies: bool = False
    parameters = "ptr %ctx, i64 %tid, i64 %nthreads"
    meeting = ("  call void @netc.meet(ptr %ctx, i64 %tid, i64 %nthreads)",)

    def load(self, module: Module) -> list[str]:
        """What stays as it is from run to run, and room for the number of a share."""
        lines = ["  %share = alloca i64, align 8"]
        lines += ["  %since = alloca i64, align 8"] if self.stamps and module.turns else []
        for region, place in (("arena", 0), ("weights", 1), ("profile", 4)):
            lines.append(f"  %{region}.at = getelementptr %context, ptr %ctx, i64 0, i32 {place}")
            lines.append(f"  %{region} = load ptr, ptr %{region}.at, align 8")
        return [*lines, "  %buffers.at = getelementptr %context, ptr %ctx, i64 0, i32 2"]

    def suffix(self, segment: int) -> str:
        """Each segment reads the table anew."""
        return f".{segment}"

    def numbers(self, segment: int) -> tuple[str, ...]:
        """The share, by the number of the thread whose it is."""
        return (f"i64 %share{segment}", "i64 %nthreads")

    def alone(self) -> tuple[str, ...]:
        """The only thread."""
        return ("i64 0", "i64 1")

    def part(self, number: int, turns: Turns) -> tuple[list[str], str, str, str]:
        """Shares without memory of their own have no turns."""
        lines = [
            f"  %few{number} = icmp ult i64 %nthreads, {turns.shares}",
            f"  %shares{number} = select i1 %few{number}, i64 %nthreads, i64 {turns.shares}",
        ]
        for name, share in (("from", f"%share{number}"), ("to", f"%following{number}")):
            if name == "to":
                lines.append(f"  {share} = add i64 %share{number}, 1")
            lines += [
                f"  %{name}.in{number} = icmp ult i64 {share}, %shares{number}",
                f"  %{name}.of{number} = select i1 %{name}.in{number}, i64 {share}, i64 %shares{number}",
                f"  %{name}.all{number} = mul i64 %{name}.of{number}, {turns.count}",
                f"  %{name}{number} = udiv i64 %{name}.all{number}, %shares{number}",
            ]
        return lines, f"%share{number}", f"%from{number}", f"%to{number}"

    def segment(self, number: int, module: Module, touched: Sequence[int], calls: list[str]) -> list[str]:
        """A loop over the shares that this thread does."""
        state = len(module.inputs) + len(module.outputs)
        table = []
        for i in touched:
            name = f"%state.{number}" if i == state else f"%buffer{i}.{number}"
            table.append(f"  {name}.at = getelementptr ptr, ptr %buffers.{number}, i64 {i}")
            table.append(f"  {name} = load ptr, ptr {name}.at, align 8")
        return [
            "  store i64 -1, ptr %share, align 8",
            f"  br label %next{number}",
            f"next{number}:",
            f"  %done{number} = load i64, ptr %share, align 8",
            f"  %share{number} = call i64 @netc.take(ptr %ctx, i64 %tid, i64 %nthreads, i64 %done{number})",
            f"  store i64 %share{number}, ptr %share, align 8",
            f"  %over{number} = icmp slt i64 %share{number}, 0",
            f"  br i1 %over{number}, label %end{number}, label %begin{number}",
            f"begin{number}:",
            *([f"  %buffers.{number} = load ptr, ptr %buffers.at, align 8"] if touched else []),
            *table,
            *calls,
            f"  br label %next{number}",
            f"end{number}:",
        ]
