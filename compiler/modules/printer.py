"""Text form of modules. `reader` reads it back to equal ones."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Location
from ..graph.printer import print_graph
from ..loops.printer import print_kernel, print_name
from ..text import quoted
from .module import Call, Kind, Module, sequence


def print_module(module: Module, *, setup: bool = True) -> str:
    """The text of a module, ending in a newline; `setup` adds the graph that packs the weights."""
    offsets = ", ".join(map(str, module.weight_offsets))
    lines = [f"module {print_name(module.name, '@')} {{", f"  arena {module.arena_bytes}"]
    lines.append(f"  weights {module.weights_bytes} at [{offsets}]")
    at = [f"at {offset} " for offset in module.input_offsets] or [""] * len(module.inputs)
    lines += [f"  input {o}{print_name(n)}: {type_}" for (n, type_), o in zip(module.inputs, at, strict=True)]
    lines += [f"  output {print_name(name)}: {type_}" for name, type_ in module.outputs]
    if module.state:
        lines.append(f"  state {module.state_bytes}")
    lines += [f"  at {offset} {print_name(name)}: {type_}" for name, type_, offset in module.state]
    for kernel in module.kernels:
        lines += ["", *_indented(print_kernel(kernel))]
    lines += ["", *_steps(module)]
    if setup:
        lines += ["", "  setup", *_indented(print_graph(module.setup))]
    return "\n".join([*lines, "}"]) + "\n"


def _steps(module: Module) -> Iterator[str]:
    """Calls, those of blocks in braces."""
    depth = 1
    begins, ends = {t.first: t for t in module.turns}, {t.end for t in module.turns}
    for step in sequence(len(module.calls), module.blocks):
        block = step.block
        if block is None:
            if step.call in begins:
                yield f"  turns {begins[step.call].count} shares {begins[step.call].shares} {{"
                depth += 1
            yield "  " * depth + _call(module.calls[step.call])
            if step.call + 1 in ends:
                depth -= 1
                yield "  }"
        elif step.kind is Kind.END:
            depth -= 1
            yield "  " * depth + "}"
        elif step.kind is Kind.ASK and block.repeats:
            yield f"{'  ' * (depth - 1)}}} while {block.when} {{"
        elif step.kind is Kind.ASK or block.repeats:
            yield "  " * depth + ("repeat {" if block.repeats else f"if {block.when} {{")
            depth += 1


def _call(call: Call) -> str:
    parts = [f"call {print_name(call.kernel, '@')}({', '.join(map(str, call.arguments))})"]
    parts += [f"label {quoted(call.label)}"] if call.label else []
    parts += [f"macs {call.macs}"] if call.macs else []
    parts += ["barrier"] if call.barrier else []
    parts += ["announces"] if call.announces else []
    parts += [f"when {call.when}"] if call.when else []
    parts += [_location(call.location)] if call.location else []
    return " ".join(parts)


def _location(at: Location) -> str:
    end = f":{at.end_line}:{at.end_column}" if at.end_line or at.end_column else ""
    return f"at {quoted(at.file)}:{at.line}:{at.column}{end}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" if line else "" for line in text.splitlines()]
