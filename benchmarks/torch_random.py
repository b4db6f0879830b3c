"""Random PyTorch programs through `netc.from_torch`, against PyTorch itself.

    python benchmarks/torch_random.py [--count 500] [--seed 0] [--lines 8] [--compiled] [--cpu NAME] [--only FAMILY]

A program is the text of a module's `forward`: lines of operators on tensors, with layers of random options among them,
buffers and parameters. Each has a seed of its own, so that one can be repeated: --seed S --count 1. Its results may be
off by what single precision rounds, and by what comes of it where inputs change a little: two runs of PyTorch with
inputs that are off by a millionth tell. A program with wrong numbers is printed with the lines that it takes. Exit code
1 if there is one, or an exception other than `NetcError`; what is refused is counted by reason.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_programs import FAMILIES, LARGEST, Drawing, layer, put, through

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]
NAMES: dict[str, Any] = {"torch": torch, "F": F, "nn": nn, "put": put, "through": through}


class Own(nn.Module):  # type: ignore[misc]
    """A layer that takes one tensor several times, or gives several of which one counts."""

    def __init__(self, inner: nn.Module, operands: int) -> None:
        super().__init__()
        self.inner, self.operands = inner, operands

    def forward(self, x: Any) -> Any:
        """The first result."""
        return self.inner(*[x] * self.operands)[0]


NAMES["Own"] = Own


@dataclass(frozen=True)
class Program:
    """Lines `name = text`, layers by name, and the inputs."""

    lines: tuple[tuple[str, str], ...]
    layers: dict[str, str]
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    seed: int

    def taken(self) -> Program:
        """Without the lines that no output takes."""
        wanted, kept = {*self.outputs}, list[tuple[str, str]]()
        for name, text in reversed(self.lines):
            if name in wanted:
                kept.append((name, text))
                wanted |= {*re.findall(r"\b[txpq]\d+\b", text)}
        layers = {n: text for n, text in self.layers.items() if any(f"self.{n}(" in t for _, t in kept)}
        return Program((*reversed(kept),), layers, self.inputs, self.outputs, self.seed)

    def module(self) -> nn.Module:
        """The module, in evaluation mode."""
        body = "\n".join(f"    {name} = {text}" for name, text in self.lines)
        own = "\n".join(f"    {name} = self.{name}" for name in ("p0", "q0"))
        source = f"def forward(self, {', '.join(self.inputs)}):\n{own}\n{body}\n    return {', '.join(self.outputs)}"
        space = dict(NAMES)
        exec(source, space)
        made = type("Random", (nn.Module,), {"forward": space["forward"]})()
        torch.manual_seed(self.seed)
        made.p0 = nn.Parameter(torch.randn(3, 4))
        made.register_buffer("q0", torch.arange(12).reshape(3, 4) - 4)
        for name, text in self.layers.items():
            made.add_module(name, built(text, self.seed))
        return made.eval()

    def __str__(self) -> str:
        shapes = (f"  {n}: {str(t.dtype)[6:]}{[*t.shape]}" for n, t in self.inputs.items())
        layers = (f"  {n} = {text}" for n, text in self.layers.items())
        lines = (f"  {n} = {text}" for n, text in self.lines)
        return "\n".join([*shapes, *layers, *lines, f"  return {', '.join(self.outputs)}"])


def built(text: str, seed: int) -> nn.Module:
    """A layer of its text, with statistics and scales that aren't those of new layers."""
    torch.manual_seed(seed)
    made: nn.Module = eval(text, dict(NAMES))
    for name, tensor in (*made.named_parameters(), *made.named_buffers()):
        if tensor.ndim == 1 and tensor.is_floating_point() and "_u" not in name and "_v" not in name:
            with torch.no_grad():
                tensor.uniform_(0.5, 1.5)
    return made.eval()


def drawn(seed: int, lines: int, families: Sequence[str]) -> Program:
    """A program that PyTorch runs."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape = [rng.randint(1, 4) if i < 2 else rng.randint(1, 8) for i in range(rng.choice([1, 2, 2, 3, 3, 4, 4, 4]))]
    inputs: dict[str, Any] = {"x0": torch.randn(shape)}
    if rng.random() < 0.6:
        inputs["x1"] = torch.randn(rng.choice([shape, shape[-1:], [1, *shape[1:]]]))
    if rng.random() < 0.3:
        inputs["x2"] = torch.randint(-4, 9, shape).to(rng.choice([torch.int32, torch.int64, torch.uint8]))
    if rng.random() < 0.15:
        inputs["x3"] = torch.randn(shape) > 0
    module = Program((), {}, inputs, (), seed).module()
    tensors: dict[str, Any] = {**inputs, **({"p0": module.p0.detach(), "q0": module.q0} if rng.random() < 0.4 else {})}
    made, layers = list[tuple[str, str]](), dict[str, str]()
    draw = Drawing(rng, tensors)
    for _ in range(40 * lines):
        if len(made) == lines:
            break
        name = f"t{len(made)}"
        try:
            if (family := rng.choice(families)) == "layers":
                x = draw.filled("{f}")
                text = f"self.l{len(layers)}({x})"
                words = layer(rng, tensors[x])
                result = built(words, seed)(tensors[x])
            else:
                text = draw.filled(rng.choice(FAMILIES[family][0]))
                result = eval(text, {**NAMES, **tensors})
        except Exception:  # whatever PyTorch refuses
            continue
        if not isinstance(result, torch.Tensor) or not 0 < result.numel() <= LARGEST:
            continue
        if family == "layers":
            layers[f"l{len(layers)}"] = words
        made.append((name, text))
        tensors[name] = result.detach()
    outputs = [n for n, _ in made[-1:]] if rng.random() < 0.5 else [n for n, _ in made]
    return Program((*made,), layers, inputs, (*outputs,), seed)


def results_of(module: Any, inputs: Sequence[Any]) -> list[Array]:
    """PyTorch's results."""
    with torch.no_grad():
        results = module(*(x.clone() for x in inputs))
    results = results if isinstance(results, tuple) else (results,)
    return [(t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for t in results]


def blurred(x: Any, sign: int) -> Any:
    """An input that is off by a millionth."""
    return x + sign * 1e-6 * (x.abs() + 1) * torch.randn(x.shape).sign() if x.is_floating_point() else x


def wrong(found: Array, wanted: Array, others: Sequence[Array]) -> str | None:
    """What is wrong with a result beside PyTorch's, and those of inputs that are a little off."""
    if found.shape != wanted.shape:
        return f"{found.shape}, not {wanted.shape}"
    if found.dtype != wanted.dtype:
        return f"{found.dtype}, not {wanted.dtype}"
    if wanted.dtype.kind != "f":
        steady = np.all([o == wanted for o in others], axis=0)
        share = float(((found != wanted) & steady).mean())
        return f"{share:.1%} of the numbers differ: {found.reshape(-1)[:5]} {wanted.reshape(-1)[:5]}" if share else None
    digits = {2: 4e-3, 4: 2e-5, 8: 2e-5}[wanted.dtype.itemsize]
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64) for a in (found, wanted, *others)]
        finite = np.abs(wide[1][np.isfinite(wide[1])])
        room = digits * (np.abs(wide[1]) + (finite.max() if finite.size else 0))
        for other in wide[2:]:
            moved = np.where(np.isfinite(other), np.abs(other - wide[1]), np.inf)
            room += 20 * np.where(wide[1] == other, 0, np.where(np.isnan(other) & np.isnan(wide[1]), 0, moved))
        near = (wide[0] == wide[1]) | (np.isnan(wide[0]) & np.isnan(wide[1])) | (np.abs(wide[0] - wide[1]) <= room)
        near |= ~np.isfinite(room)
    if near.all():
        return None
    k = int(np.argmin(near))
    return f"{(~near).mean():.1%} of the numbers are off, say {found.reshape(-1)[k]}, not {wanted.reshape(-1)[k]}"


def problem_of(program: Program, options: argparse.Namespace, counts: Counter[str] | None = None) -> str | None:
    """What is wrong with a program."""
    module, inputs = program.module(), [*program.inputs.values()]
    wanted = results_of(module, inputs)
    torch.manual_seed(0)
    others = [results_of(module, [blurred(x, s) for x in inputs]) for s in (1, -1)]
    counts = Counter() if counts is None else counts
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            graph = netc.from_torch(module, tuple(inputs))
        if said := "; ".join(plain(str(n.message)) for n in notes if "older" in str(n.message)):
            counts[f"notes: {said}"] += 1
        given = [x.numpy() for x in inputs]
        found: list[tuple[str, Any]] = [("meaning", evaluate(graph, given))]
        if options.compiled:
            with compile_graph(graph, threads=1, cpu=options.cpu) as compiled:
                results = compiled(*given)
            found.append(("program", results if isinstance(results, tuple) else (results,)))
    except NetcError as error:
        counts["refused: " + plain(error.diagnostics[0].message)] += 1
        return None
    except Exception:
        return traceback.format_exc()
    for what, results in found:
        if len(results) != len(wanted):
            return f"{what}: {len(results)} results, not {len(wanted)}"
        for name, result, *given in zip(program.outputs, results, wanted, *others, strict=True):
            if (problem := wrong(np.asarray(result), given[0], given[1:])) is not None:
                return f"{what}, {name}: {problem}"
    return None


def plain(text: str) -> str:
    """A message without numbers and names of tensors."""
    return re.sub(r"\d+", "#", text)[:150]


def smaller(program: Program, options: argparse.Namespace) -> tuple[Program, str | None]:
    """The first line that alone is wrong, with what it takes."""
    for name, _ in program.lines:
        part = Program(program.lines, program.layers, program.inputs, (name,), program.seed).taken()
        if (problem := problem_of(part, options)) is not None:
            return part, problem
    return program, None


def main() -> int:
    """Draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, default=8, help="of a program, at most")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--cpu", metavar="NAME")
    parser.add_argument("--only", choices=[*FAMILIES, "layers"], help="lines of this family alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    families = [n for n, (_, weight) in FAMILIES.items() for _ in range(weight)] + ["layers"] * 5
    families = [options.only] if options.only else families
    counts: Counter[str] = Counter()
    count = 0
    for seed in range(options.seed, options.seed + options.count):
        program = drawn(seed, 1 + seed % options.lines, families)
        if not program.lines or (problem := problem_of(program, options, counts)) is None:
            continue
        part, less = smaller(program, options)
        count += 1
        print(f"seed {seed}: {less or problem}\n{part}", flush=True)
    for what, times in counts.most_common():
        print(f"{times:6} {what}")
    print(f"{count:6} WRONG")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
