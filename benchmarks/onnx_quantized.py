"""Quantized ONNX files of several quantizers: netc's numbers beside those of ONNX Runtime, the reference and LiteRT.

    python benchmarks/onnx_quantized.py [NET ...] [--form FORM ...] [--keep DIR] [--notes]

Forms: those of ONNX Runtime's quantizer, `nncf` (needs the package nncf), `pt2e` (PyTorch's and torchao's) and `fx`
(PyTorch's older one). For each file: how far the program of what the file means is from ONNX Runtime without its
rewriting, and from the reference evaluator of ONNX for one input (a share of the range of the outputs), and how far
ONNX Runtime is from that; how far its integer form is from ONNX Runtime in steps of the output's scale; for how many
inputs LiteRT's reference kernels give its bytes, and how far they are off where operators stay float; these operators;
and the kinds of the notes about it. Exit code 1 if LiteRT differs, or a program from the reference by more than a
thousandth and twice what ONNX Runtime does.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx_integers import Samples, differing, floats_left, steps
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

import netc
from netc.compiler.quantization import quantize_as_given, states_scales
from netc.compiler.tflite import to_tflite
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]
INPUTS, LIMIT = 4, 1e-3


class Cnn(nn.Module):
    """Convolutions, one of them depthwise, with a residual sum, pooling and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        """Scores of [N, 3, H, W]."""
        x = torch.relu(self.norm(self.first(x)))
        y = self.pointwise(torch.relu(self.depthwise(x))) + x
        y = torch.max_pool2d(y, 2)
        return self.head(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


class Transformer(nn.Module):
    """Patches of a picture, two encoder blocks of width 64 with GELU, and a dense layer on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 8, 8)
        for i in (0, 1):
            for name, features in (("q", 64), ("k", 64), ("v", 64), ("out", 64), ("wide", 128)):
                self.add_module(f"{name}{i}", nn.Linear(64, features))
            self.add_module(f"narrow{i}", nn.Linear(128, 64))
            self.add_module(f"norm{i}", nn.LayerNorm(64))
            self.add_module(f"then{i}", nn.LayerNorm(64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        """Scores of [1, 3, 64, 64]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        parts = dict(self.named_children())
        for i in "01":
            y = parts[f"norm{i}"](x)
            q, k, v = (parts[f"{name}{i}"](y).reshape(1, 64, 4, 16).transpose(1, 2) for name in "qkv")
            weights = torch.softmax(q @ k.transpose(2, 3) * 0.25, -1)
            x = x + parts[f"out{i}"]((weights @ v).transpose(1, 2).reshape(1, 64, 64))
            y = parts[f"wide{i}"](parts[f"then{i}"](x))
            x = x + parts[f"narrow{i}"](nn.functional.gelu(y))
        return self.head(x.mean(1))


OWN: dict[str, Callable[[], nn.Module]] = {"cnn": Cnn, "transformer": Transformer}
NETS = ("cnn", "transformer", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0")
SIZE = 64


def module_of(name: str) -> nn.Module:
    """A net with drawn weights, in evaluation mode."""
    if name in OWN:
        torch.manual_seed(0)
        return OWN[name]().eval()
    from twins import twin

    return twin(name)


# ---- the quantizers --------------------------------------------------------------------------------------------------


def static(form: QuantFormat, activations: QuantType, *, per_channel: bool) -> Callable[..., None]:
    """ONNX Runtime's quantizer with the ranges of samples."""

    def write(floats: Path, _: nn.Module, inputs: Sequence[Array], path: Path) -> None:
        rules: dict[str, Any] = {"activation_type": activations, "weight_type": QuantType.QInt8}
        samples = Samples(input_name(floats), inputs)
        quantize_static(floats, path, samples, quant_format=form, per_channel=per_channel, **rules)

    return write


def unsigned(floats: Path, _: nn.Module, inputs: Sequence[Array], path: Path) -> None:
    """ONNX Runtime's quantizer with weights of u8, whose zero points aren't 0."""
    rules: dict[str, Any] = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8}
    quantize_static(floats, path, Samples(input_name(floats), inputs), quant_format=QuantFormat.QOperator, **rules)


def dynamic(floats: Path, _: nn.Module, inputs: Sequence[Array], path: Path) -> None:
    """ONNX Runtime's quantizer with scales found at run time: DynamicQuantizeLinear, ConvInteger, MatMulInteger."""
    del inputs
    quantize_dynamic(floats, path, weight_type=QuantType.QUInt8)


def nncf(floats: Path, _: nn.Module, inputs: Sequence[Array], path: Path) -> None:
    """NNCF's quantizer of ONNX models."""
    import nncf as package

    name = input_name(floats)
    samples = package.Dataset(list(inputs), lambda x: {name: x})
    onnx.save(package.quantize(onnx.load(floats), samples, subset_size=len(inputs)), path)


def pt2e(floats: Path, module: nn.Module, inputs: Sequence[Array], path: Path) -> None:
    """PyTorch's quantizer of exported programs, in torchao, written by the new exporter."""
    del floats
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as rules

    config = rules.get_default_x86_inductor_quantization_config()
    quantizer = rules.X86InductorQuantizer().set_global(config)
    prepared = prepare_pt2e(torch.export.export(module, (torch.from_numpy(inputs[0]),)).module(), quantizer)
    for x in inputs:
        prepared(torch.from_numpy(x))
    torch.onnx.export(convert_pt2e(prepared), (torch.from_numpy(inputs[0]),), path, dynamo=True, verbose=False)


def fx(floats: Path, module: nn.Module, inputs: Sequence[Array], path: Path) -> None:
    """PyTorch's quantizer of traced modules, written by the old exporter."""
    del floats
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    example = (torch.from_numpy(inputs[0]),)
    torch.backends.quantized.engine = "qnnpack"
    prepared = prepare_fx(module, get_default_qconfig_mapping("qnnpack"), example)
    for x in inputs:
        prepared(torch.from_numpy(x))
    torch.onnx.export(convert_fx(prepared), example, path, dynamo=False, opset_version=20)


FORMS: dict[str, Callable[[Path, nn.Module, Sequence[Array], Path], None]] = {
    **{
        f"{form.name.lower()}-{kind.name[1:].lower()}-{'channel' if per_channel else 'tensor'}": static(
            form, kind, per_channel=per_channel
        )
        for form in (QuantFormat.QDQ, QuantFormat.QOperator)
        for kind in (QuantType.QInt8, QuantType.QUInt8)
        for per_channel in (False, True)
    },
    "qoperator-u8-weights": unsigned,
    "dynamic": dynamic,
    "nncf": nncf,
    "pt2e": pt2e,
    "fx": fx,
}


def input_name(path: Path) -> str:
    """The name of a model's first input."""
    return str(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0].name)


# ---- a file ----------------------------------------------------------------------------------------------------------


def apart(wanted: Sequence[Array], found: Sequence[Array]) -> float:
    """The largest difference, as a share of the range of what is wanted."""
    span = max(float(np.ptp(w)) for w in wanted) or 1.0
    return max(float(np.abs(w - f).max()) for w, f in zip(wanted, found, strict=True)) / span


def plain(path: Path, inputs: Sequence[Array]) -> list[Array]:
    """ONNX Runtime's outputs, without its rewriting."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return [session.run(None, {session.get_inputs()[0].name: x})[0] for x in inputs]


def reference(path: Path, x: Array) -> Array | None:
    """The reference evaluator's output; None where it lacks an operator."""
    from onnx.reference import ReferenceEvaluator

    try:
        engine = ReferenceEvaluator(onnx.load(path))
        return np.asarray(engine.run(None, {engine.input_names[0]: x})[0])
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        return None


def kinds(notes: Sequence[str]) -> str:
    """How many notes of each kind there are."""
    found: Counter[str] = Counter()
    for note in notes:
        text = re.sub(r"`[^`]*`", "", note)
        text = re.sub(r"[-0-9.e+]*<[^>]*>|<[^>]*>|[-+]?[0-9][0-9.e+:-]*", "#", text)
        found[re.sub(r"\s+", " ", text).strip()] += 1
    return "; ".join(f"{n} x {kind}" for kind, n in found.most_common()) or "none"


def row(name: str, form: str, path: Path, inputs: Sequence[Array], *, notes: bool) -> tuple[str, bool]:
    """The row of a file, and whether its numbers are right."""
    graph = netc.load(path)
    program = compile_graph(graph)
    found = [np.asarray(program(x)) for x in inputs]
    wanted, exact = plain(path, inputs), reference(path, inputs[0])
    far = apart(wanted, found)
    near = None if exact is None else apart([exact], found[:1])
    cells = [name, form, f"{far:.1e}", "" if near is None else f"{near:.1e}"]
    own = 0.0 if exact is None else apart([exact], wanted[:1])
    cells.append("" if exact is None else f"{own:.1e}")
    good = min(far, far if near is None else near) <= max(LIMIT, 2 * own)
    if not states_scales(graph):
        return "| " + " | ".join((*cells, "", "", "all", "its scales are found at run time")) + " |", good
    given = quantize_as_given(graph, {})
    differ, outputs, theirs = differing(given.graph, to_tflite(given.graph), inputs)
    floats = floats_left(given.graph)
    told = kinds(given.notes)
    if notes:
        print("\n".join(f"    {note}" for note in given.notes))
    count, share = steps(path, given.graph, outputs, inputs), apart(wanted, outputs)
    off = f"{share:.1e}" if np.isnan(count) else f"{count:.0f} ({share:.1e})"
    far = apart(theirs, outputs)
    same = f"{len(inputs) - differ} of {len(inputs)}" + (f", {far:.1e}" if differ else "")
    right = not differ if floats == "none" else far <= LIMIT
    return "| " + " | ".join((*cells, off, same, floats, told)) + " |", good and right


def files(name: str, forms: Sequence[str], folder: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Path | str]]:
    """The files of a net, or why there is none."""
    module = module_of(name)
    floats, ready = folder / f"{name}.onnx", folder / f"{name}.ready.onnx"
    if not ready.exists():
        torch.onnx.export(module, (torch.from_numpy(inputs[0]),), floats, dynamo=False, opset_version=20)
        quant_pre_process(floats, ready, skip_symbolic_shape=True)
    for form in forms:
        path = folder / f"{name}.{form}.onnx"
        try:
            if not path.exists():
                FORMS[form](ready, module, inputs, path)
            yield form, path
        except Exception as error:  # a quantizer's failure is none of netc's
            yield form, f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"


def main() -> int:
    """Check the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*NETS], metavar="NET")
    parser.add_argument("--form", nargs="+", choices=FORMS, default=[*FORMS], metavar="FORM")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files there, and take those that are there")
    parser.add_argument("--notes", action="store_true", help="print the notes themselves, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    heads = (
        "net",
        "form",
        "from ONNX Runtime",
        "from the reference",
        "ONNX Runtime from it",
        "integers: steps",
        "LiteRT",
        "floats",
        "notes",
    )
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    sound = True
    samples = np.random.default_rng(3).standard_normal((8, 1, 3, SIZE, SIZE)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names:
            for form, path in files(name, options.form, folder, [*samples]):
                start = time.perf_counter()
                try:
                    line, good = (
                        (f"| {name} | {form} | no file: {path} |", True)
                        if isinstance(path, str)
                        else row(name, form, path, [*samples[:INPUTS]], notes=options.notes)
                    )
                except netc.NetcError as error:
                    line, good = f"| {name} | {form} | refused: {error} |", False
                print(line, flush=True)
                print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
                sound &= good
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
