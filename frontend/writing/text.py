"""The text of a graph, proven: it is elaborated and compared with the graph before anyone gets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ...compiler.errors import InternalError, NetcError
from ...compiler.graph.ir import Array, Graph, Operation, Value
from ...compiler.graph.names import output_names
from ...compiler.ops.opaque import unknown_operators
from ...compiler.passes.dce import dce
from ..loading import load_text
from ..modules import library_names
from .items import Body, Program, Var
from .matching import DifferentError, correspondence
from .naming import KEYWORDS, free, identifier
from .printing import block_text, definition, folded
from .raising import Raising, UnsayableError
from .structure import structured


@dataclass(frozen=True, slots=True)
class Written:
    """A text, the graph that it gives, and what the parameters of that graph stand for in the graph it was made from."""

    text: str
    graph: Graph
    sources: Mapping[str, Operation]
    blocks: int
    """How many blocks the text defines."""

    def arrays(self, weights: Mapping[str, Array] | None = None) -> Mapping[str, Array]:
        """Values of the parameters that are known: those of constants, and of parameters that are among `weights`."""
        found: dict[str, Array] = {}
        for name, op in self.sources.items():
            if op.name == "constant":
                found[name] = op.attributes["value"]
            elif weights is not None and op.result.name in weights:
                found[name] = weights[op.result.name]
        return found


def written(graph: Graph, name: str | None = None) -> Written:
    """The text of a graph as the net `name`, with blocks and loops, or straight on where those don't give the same.

    Raises `UnsayableError` where the language has no words for something in the graph.
    """
    graph = dce(graph)
    unknown = list(unknown_operators(graph))
    if unknown:
        raise UnsayableError(unknown)
    net = _net_name(name or graph.name)
    reasons: list[str] = []
    problem: NetcError | None = None
    for is_named, arrange in _ways():
        try:
            body = Raising(graph, is_named).body()
            program = Program(body) if arrange is None else arrange(body)
            text = _text(net, graph, program)
            made = load_text(text, f"{net}.net")
            pairs = correspondence(made, graph)
        except UnsayableError:
            raise
        except DifferentError as error:
            reasons.append(str(error))
            continue
        except NetcError as error:
            problem = error
            reasons.append(str(error))
            continue
        producers = graph.producers
        return Written(text, made, {a.name or "": producers[b] for a, b in pairs.items()}, len(program.blocks))
    if problem is not None and "limit" in str(problem):
        raise problem
    raise InternalError(f"the text of {net} gives another graph: {reasons[-1]}")


def _ways() -> Iterator[tuple[bool, Callable[[Body], Program] | None]]:
    """How a text may be made, best first: with the names of parameters or others, with structure or without."""
    yield True, lambda body: structured(body, is_named=True)
    yield True, None
    yield False, lambda body: structured(body, is_named=False)
    yield False, None


def _net_name(name: str) -> str:
    found = identifier(name, "net")
    return f"{found}_net" if found in library_names() or found in KEYWORDS else found


def _text(net: str, graph: Graph, program: Program) -> str:
    names: dict[Var, str] = {}
    taken = {*library_names(), *KEYWORDS, *(b.name for b in program.blocks), net}
    inputs: list[str] = []
    for var, value in zip(program.body.params, graph.inputs, strict=True):
        base = identifier(value.name or "input", "input")
        names[var] = free(base if base not in library_names() else f"{base}_input", taken)
        taken.add(names[var])
        inputs.append(f"{names[var]}: {_type(value)}")
    head = "\n".join(folded(f"net {net}({', '.join(inputs)})", "    "))
    result = output_names(graph) if len(graph.outputs) > 1 or _is_record(graph) else ()
    fields = result if result and all(re.fullmatch(r"[A-Za-z_]\w*", n) and n not in KEYWORDS for n in result) else None
    parts = [*map(block_text, program.blocks), definition(head, program.body, names, fields)]
    return "\n".join(parts)


def _is_record(graph: Graph) -> bool:
    """Whether a `.net` file gave its only output a name."""
    return "format" not in graph.attributes and bool(output_names(graph))


def _type(value: Value) -> str:
    if value.type.quantization is not None:
        raise UnsayableError(f"the language has no quantized tensors, such as the input `{value.name}`: {value.type}")
    return f"{value.type.dtype}[{', '.join(map(str, value.type.shape))}]"
