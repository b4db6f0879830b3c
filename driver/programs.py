"""`netc.compile`: from a network to a program in one call, quantized on the way if it should be.

What compiles is imported when there is something to compile: a network that this machine knows starts without it.
"""

from __future__ import annotations

import copy
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .collector import without_collections
from .compiler.errors import NetcError
from .compiler.precision import F32
from .compiler.reading import noting_files
from .frontend.roots import allowing
from .known import find, heeding_warnings, key_of, warn_again
from .readings import reading_float_weights
from .runtime.host import available_cores
from .runtime.program import Array, Program
from .runtime.saved import SavedFile, is_saved_name

if TYPE_CHECKING:
    from .calibration import Calibrated, Samples
    from .compiler.graph.ir import Graph
    from .loading import Source, Weights
    from .pipeline import Compilation, Request

QUANTIZED = ("int8", "int16x8", "dynamic_range", "float16")


class NetworkProgram(Program):
    """A program that knows which network it computes.

    Can be copied and pickled: the other process compiles the network for its machine.
    """

    def __init__(self, c: Compilation, model: str, packed: Array) -> None:
        """`packed` are the weights, as the code reads them."""
        from .compiler.graph.state import initial_state

        given = (c.target, c.threads, c.parameters(), initial_state(c.graph))
        super().__init__(c.module, c.object.code, *given, packed=packed)
        self._model = model
        compilation = copy.copy(c)
        compilation.llvm = ""  # it is long, and no longer needed
        self._make: Callable[[], Compilation] = lambda: compilation

    @classmethod
    def _of_file(cls, file: SavedFile, model: str, make: Callable[[], Compilation]) -> NetworkProgram:
        """A known network, which `make` compiles once more where more than its program is asked for."""
        self = cls.__new__(cls)
        file.check_machine()
        self._begin(file.plan, file.load(), file.weights, file.threads, file.initial())
        self._fill_state({})
        self._model, self._make = model, make
        return self

    @property
    def _compilation(self) -> Compilation:
        made = self._make()
        self._make = lambda: made
        return made

    @property
    def graph(self) -> Graph:
        """The network before it was optimised, with its quantization."""
        return self._compilation.graph

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as its network with its weights, which are compiled again at the other end."""
        from .loading import find_weights

        c = self._compilation
        if self.state:
            raise TypeError(f"program {c.graph.name} changes its parameters: it can't be copied or pickled")
        weights = c.request.weights
        if weights is not None:
            weights = dict(find_weights(weights, c.graph, c.request.seed))
            if not np.array_equal(c.backend.package(c.module, weights), self.packed_weights):
                raise NetcError(f"the weights of {c.graph.name} have changed since it was compiled")
        request = c.request
        return _compiled, (c.graph, weights, request.seed, self._model, request.threads, request.cpu, request.precision)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as a TFLite file, or with its code as `FILE.netc`, which `netc.load_program` loads.

        Raises `NetcError` for what TFLite has no form of. For it, weights come from where they came from when it was
        compiled: a file is read again.
        """
        c = self._compilation
        if is_saved_name(path):
            from .classes import usable_labels
            from .saving import save_program

            save_program(path, c, self, usable_labels(c.graph, self._model, c.request.weights))
            return
        from .export import write_graph

        write_graph(path, c.graph, c.request.weights, c.request.seed, self._model)


def _compiled(
    graph: Graph,
    weights: Weights,
    seed: int,
    model: str,
    threads: int | None,
    cpu: str | None,
    precision: str = F32,
) -> NetworkProgram:
    from .pipeline import Request, build_packed

    request = Request(graph, threads=threads, cpu=cpu, weights=weights, seed=seed, precision=precision)
    c, packed = build_packed(request)
    return NetworkProgram(c, model, packed)


def compile(  # noqa: A001 (the public name)
    source: Source,
    *,
    weights: Weights = None,
    batch: int = 1,
    threads: int | None = None,
    cpu: str | None = None,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: str = F32,
    quantize: str | None = None,
    calibration: Samples | Calibrated | None = None,
    method: str = "mse",
    allow_import: Sequence[str | os.PathLike[str]] = (),
    float_weights: bool = False,
) -> NetworkProgram:
    """Compile a network for this machine.

    `source` is a path to a file (`.net`, `.tflite`, `.onnx`, or `.ir` for a graph in text form), the name of a shipped
    net, or a graph (whose batch is what it is). `weights` is a safetensors file or a mapping from parameter name to
    array in the graph's layout; None draws He-normal ones by `seed`. `batch` binds the free size N, `settings` the
    net's other sizes and hyperparameters; `threads` None uses all cores.

    With `precision="bf16"` contractions have weights, and on machines with instructions for it also inputs, rounded to
    bfloat16, and sums in f32; with `precision="f16"` they have weights of half precision. Weights take half the memory.

    With `quantize="int8"` the network computes in 8-bit integers between its inputs and outputs, which stay floats,
    with `quantize="int16x8"` in 16-bit integers and 8-bit weights; `calibration` are samples to find the ranges of
    activations with, by `method` (see `netc.quantize`), the same for every batch. With `quantize="dynamic_range"`
    weights have 8 bits, with `quantize="float16"` half precision, and no samples are needed.

    A `.net` file may name files in its folder and below, and in those below one of the folders `allow_import`.
    With `float_weights` a file of dynamic range is read as one of floats (see `netc.load`).

    Returns a callable from NHWC arrays to arrays, with a method `save` that writes the TFLite file. Raises `NetcError`
    for whatever the caller can cure.
    """
    form = _form(quantize, calibration, method, precision)
    given: dict[str, Any] = {"net": net, "batch": batch, "settings": dict(settings or {}), "seed": seed}
    given |= {"threads": threads, "cpu": cpu, "precision": precision}

    def make() -> Compilation:
        from .pipeline import PROGRAM, build

        with allowing(allow_import), reading_float_weights(float_weights):
            return build(_request(source, weights, given, form), PROGRAM)

    with allowing(allow_import), reading_float_weights(float_weights):
        key = _key(source, weights, given, form)
    model = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if key is not None and (file := find(key)) is not None:
        warn_again(file)
        return NetworkProgram._of_file(file, model, _silently(make))
    lasting = "netc.pipeline" not in sys.modules  # the first network brings the compiler; others may be many
    with without_collections(lasting=lasting) if form is None else nullcontext():  # to calibrate takes long
        from .classes import usable_labels
        from .keeping import Keeping
        from .pipeline import build_packed

        with Keeping(key) as keeping:
            with noting_files() as files, heeding_warnings() as heard:
                with allowing(allow_import), reading_float_weights(float_weights):
                    c, packed = build_packed(_request(source, weights, given, form), keeping.weights_file)
                program = NetworkProgram(c, model, packed)
                labels = usable_labels(c.graph, model, weights) if key is not None else None
            if labels is not None:
                keeping.keep(c, program, labels, files, heard)
    return program


def _silently(make: Callable[[], Compilation]) -> Callable[[], Compilation]:
    """Without the warnings, which were given."""

    def made() -> Compilation:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return made


@dataclass(frozen=True)
class _Form:
    """How a network is quantized."""

    name: str
    calibration: Samples | Calibrated | None
    method: str

    @property
    def identity(self) -> list[str] | None:
        """What tells it from others; None where that would take more than to quantize."""
        if self.calibration is None:
            return [self.name, self.method]
        if not isinstance(self.calibration, np.ndarray):
            return None
        samples = np.ascontiguousarray(self.calibration)
        digest = hashlib.sha256(samples.reshape(-1).view(np.uint8).data).hexdigest()
        return [self.name, self.method, str(samples.dtype), str(samples.shape), digest]


def _form(quantize: str | None, calibration: Samples | Calibrated | None, method: str, precision: str) -> _Form | None:
    """How a network is quantized, if it is; raises `NetcError` for settings that don't fit each other."""
    if quantize is None and calibration is not None:
        raise NetcError("samples to calibrate with are for quantizing", hint='add quantize="int8"')
    if quantize is None:
        return None
    if precision != F32:
        raise NetcError("precision is for networks of floats", hint="leave out `precision` or `quantize`")
    if quantize not in QUANTIZED:
        raise NetcError(f"a network can be quantized to {', '.join(QUANTIZED)}, not {quantize!r}")
    return _Form(quantize, calibration, method)


def _key(source: Source, weights: Weights, given: Mapping[str, Any], form: _Form | None) -> str | None:
    """The key of a known network; None where it isn't made of files alone."""
    if not isinstance(source, str | os.PathLike) or not isinstance(weights, str | os.PathLike | None):
        return None
    identity = form.identity if form is not None else []
    if identity is None:
        return None
    threads = available_cores() if given["threads"] is None else given["threads"]
    asked = {**given, "threads": threads, "preprocess": {}, **({"form": identity} if identity else {})}
    return key_of(os.fspath(source), None if weights is None else os.fspath(weights), asked)


def _request(source: Source, weights: Weights, given: Mapping[str, Any], form: _Form | None) -> Request:
    """What is compiled, quantized if it should be."""
    from .loading import load
    from .pipeline import Request

    if form is None:
        return Request(source, weights=weights, **given)
    from .calibration import Calibrated, calibrate_for_batch
    from .quantization import INTEGER_FORMS, quantize

    def loaded(batch: int) -> Graph:
        return load(source, net=given["net"], batch=batch, settings=given["settings"])

    batch, seen = given["batch"], form.calibration
    if form.name in INTEGER_FORMS and seen is not None and not isinstance(seen, Calibrated):
        options = {"weights": weights, "threads": given["threads"], "seed": given["seed"]}
        seen = calibrate_for_batch(loaded, batch, seen, **options)
    graph = quantize(
        seen.graph if isinstance(seen, Calibrated) else loaded(batch),
        calibration=seen,
        weights=weights,
        method=form.method,
        inputs="f32",
        outputs="f32",
        threads=given["threads"],
        seed=given["seed"],
        form=form.name,
    )
    return Request(graph, threads=given["threads"], cpu=given["cpu"], seed=given["seed"])
