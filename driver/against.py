"""An ONNX file beside another engine, node by node: the first result that differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from traceback import walk_tb
from types import MappingProxyType
from typing import Any

import numpy as np

from .commands.bench import random_inputs
from .compiler.errors import NetcError
from .compiler.extras import extra
from .compiler.graph.ir import Array, Graph
from .compiler.quantization import states_scales
from .frontend.onnx.watched import Watched, watched
from .loading import load
from .pipeline import compile_graph
from .runtime.program import all_outputs

ENGINES = ("reference", "onnxruntime")
_NAMES = {"reference": "the ONNX reference evaluator", "onnxruntime": "ONNX Runtime"}
NO_TITLES: Mapping[str, str] = MappingProxyType({})
LIMIT = 1e-4
"""Largest difference between floats, as a share of the largest number of a tensor."""
HALF_LIMIT = 0.01
"""The same of halves, which engines round at different places."""
QUANTIZED_LIMIT = 0.05
"""The same of networks that round activations to 8 bits: what lies between two integers may go to either."""


@dataclass(frozen=True)
class Agreement:
    """What was compared, and the largest difference that was passed."""

    results: int
    engine: str
    largest: float
    where: str

    def __str__(self) -> str:
        exact = f"; the largest difference is {self.largest:.1e} of a tensor's range, at {self.where}"
        return f"{self.results} results of nodes agree with {self.engine}{exact if self.largest else ', all exactly'}"


def compare_with(path: str, engine: str, settings: Mapping[str, Any] | None = None, batch: int = 1) -> Agreement:
    """Run a file on drawn inputs in netc and in another engine, and compare the results of all nodes in order.

    Raises `NetcError` about the first that differs, and where the network as a whole, which is compiled apart, gives
    other outputs than its nodes.
    """
    found, whole = watched(path, batch, settings), load(path, batch=batch, settings=settings)
    if [v.type for v in whole.inputs] != [v.type for v in found.graph.inputs]:
        problem = f"the batch of {path} is fixed, and nodes are compared as the file has them"
        raise NetcError(problem, hint="leave out --batch")
    inputs = random_inputs(found.graph)
    feeds = {str(v.name): x for v, x in zip(found.graph.inputs, inputs, strict=True)} | dict(found.fixed)
    wanted = _ENGINES[engine](found.model, feeds, found.names, found.titles)
    limit = QUANTIZED_LIMIT if states_scales(found.graph) else LIMIT
    agreement = _compared(found, _outputs(compile_graph(found.graph), inputs), wanted, _NAMES[engine], limit)
    _check_whole(whole, inputs, dict(zip(found.names, wanted, strict=True)), limit)
    return agreement


def _outputs(program: Callable[..., Any], inputs: Sequence[Array]) -> Sequence[Array]:
    return all_outputs(program(*inputs))


def _compared(
    found: Watched, results: Sequence[Array], wanted: Sequence[Array], engine: str, limit: float
) -> Agreement:
    largest, where = 0.0, ""
    for done, (name, ours, theirs) in enumerate(zip(found.names, results, wanted, strict=True)):
        title = found.titles[name]
        far = _distance(ours, theirs)
        if not far <= _most(ours, limit):
            problem = f"{title} differs from {engine}: `{name}` {_difference(ours, theirs)}"
            raise NetcError(problem, hint=f"{done} results of nodes before it agree")
        if far > largest and not _is_narrow(ours):
            largest, where = far, title
    return Agreement(len(results), engine, largest, where)


def _most(x: Array, limit: float) -> float:
    """How far a tensor may be off in a network whose floats have this limit."""
    if _is_narrow(x) and limit > LIMIT:
        return 1
    return max(limit, HALF_LIMIT) if x.dtype == np.float16 else limit


def _is_narrow(x: Array) -> bool:
    return x.dtype in (np.int8, np.uint8)


def _check_whole(graph: Graph, inputs: Sequence[Array], wanted: Mapping[str, Array], limit: float) -> None:
    """Compare the outputs of the network as it is compiled for use."""
    names = graph.attributes["signature"]["outputs"]
    for name, ours in zip(names, _outputs(compile_graph(graph), inputs), strict=True):
        if name in wanted and not _distance(ours, wanted[name]) <= _most(ours, limit):
            problem = f"the output `{name}` differs, though all nodes agree: it {_difference(ours, wanted[name])}"
            raise NetcError(problem, hint="this is a bug in a pass of netc")


def _distance(ours: Array, theirs: Array) -> float:
    """The largest difference: of floats as a share of the largest number, of integers as it is; infinite if unlike."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return np.inf
    if ours.dtype.kind != "f":
        return float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0))
    with np.errstate(all="ignore"):
        gaps = np.where(_same(ours, theirs), 0, np.abs(ours.astype(np.float64) - theirs))
        finite = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
        far = gaps.max(initial=0) / finite if finite else gaps.max(initial=0)
    return float(far) if not np.isnan(far) else np.inf


def _same(ours: Array, theirs: Array) -> Array:
    same: Array = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return same


def _difference(ours: Array, theirs: Array) -> str:
    """Both values at the place where they differ most."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"is {ours.dtype}{list(ours.shape)} here, and {theirs.dtype}{list(theirs.shape)} there"
    with np.errstate(all="ignore"):
        gaps = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    gaps[np.isnan(gaps)] = np.inf
    if ours.dtype.kind == "f":
        gaps[_same(ours, theirs)] = 0
    place = np.unravel_index(int(gaps.argmax()), gaps.shape)
    at = f" at {[int(i) for i in place]}" if place else ""
    count = int((gaps > 0).sum())
    return f"is {ours[place]!s} here and {theirs[place]!s} there{at}; {count} of {ours.size} elements differ"


def _by_reference(
    model: Any, feeds: Mapping[str, Array], names: Sequence[str], titles: Mapping[str, str]
) -> list[Array]:
    evaluator = import_module("onnx.reference").ReferenceEvaluator
    try:
        results = evaluator(model).run(None, dict(feeds), intermediate=True)
    except Exception as error:  # of any kind: operators that it doesn't have, or stumbles over
        raise _cannot_run("reference", error, _node_of(error, titles)) from None
    return [np.asarray(results[name]) for name in names]


def _node_of(error: Exception, titles: Mapping[str, str]) -> str | None:
    """The node at which the reference evaluator failed, as its own frames tell."""
    for frame, _ in walk_tb(error.__traceback__):
        node = frame.f_locals.get("node")
        outputs = [name for name in getattr(node, "output", ()) if name in titles]
        if frame.f_code.co_name in ("run", "_init") and outputs:
            return titles[outputs[0]]
    return None


def by_runtime(
    model: Any, feeds: Mapping[str, Array], names: Sequence[str], titles: Mapping[str, str] = NO_TITLES
) -> list[Array]:
    """Results of a model by name, from ONNX Runtime without its rewriting. Raises `NetcError` if it can't run it."""
    runtime = extra("onnxruntime", "ONNX Runtime can't be used", "pip install onnxruntime")
    watching = type(model)()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    for name in names:
        watching.graph.output.add().name = name
    data = watching.SerializeToString()
    try:
        try:
            session = _session(runtime, data, precisely=True)
        except Exception:  # not all operators have kernels of that kind
            session = _session(runtime, data, precisely=False)
        return [np.asarray(a) for a in session.run(list(names), dict(feeds))]
    except Exception as error:
        raise _cannot_run("onnxruntime", error) from None


def _session(runtime: Any, data: bytes, *, precisely: bool) -> Any:
    """A session; `precisely`: sums of products of bytes don't saturate at 16 bits, as on x86 with AVX2 alone."""
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1" if precisely else "0")
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _cannot_run(engine: str, error: Exception, node: str | None = None) -> NetcError:
    other = next(e for e in ENGINES if e != engine)
    told = " ".join(str(error).split())[:300] or type(error).__name__
    return NetcError(f"{_NAMES[engine]} can't run {node or 'it'}: {told}", hint=f"try --against {other}")


_ENGINES = {"reference": _by_reference, "onnxruntime": by_runtime}
