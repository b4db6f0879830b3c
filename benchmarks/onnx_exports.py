"""Exports of torchvision's and timm's nets to ONNX, by both exporters of PyTorch: do they give PyTorch's numbers?

    python benchmarks/onnx_exports.py [NAME ...] [--exporter old|new] [--keep DIR] [--meaning] [--times]

For each net: the largest difference from PyTorch, as a share of the range of its outputs; the transposes left inside,
those that rearrange split dimensions (shuffles of channels, windows), and those of inputs and outputs; the time of
reading; with --times the processor time of a call on one thread and ONNX Runtime's for the same file, which take turns,
and their ratio. Names are netc's, those of torchvision, or timm/NAME; by default all of torchvision that netc ships and
a net of each family of timm. What the exporter itself can't do is said. Exit code 1 if a net differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from twins import FIXED_SIZE, TIMM, TORCHVISION, twin

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes.axis_orders import transposes_left
from netc.pipeline import compile_graph, load
from netc.runtime.program import Program

FAMILIES = (
    "beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_lite_tiny coatnet_pico_rw_224 "
    "convformer_s18 convit_tiny convmixer_768_32 convnextv2_atto crossvit_tiny_240 cspdarknet53 cspresnet50 darknet53 "
    "davit_tiny deit_tiny_patch16_224 dla34 dpn68 eca_nfnet_l0 edgenext_xx_small efficientformer_l1 "
    "efficientformerv2_s0 efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fastvit_t8 "
    "fbnetc_100 focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_100 ghostnetv2_100 gmixer_24_224 gmlp_s16_224 "
    "halonet26t hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small inception_next_atto lambda_resnet26t "
    "lcnet_050 levit_128s mambaout_femto maxvit_rmlp_pico_rw_256 mixer_s32_224 mobilenetv3_rw mobilenetv4_conv_small "
    "mobilenetv4_hybrid_medium mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small "
    "pit_ti_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 "
    "res2net50_26w_4s resmlp_12_224 resnest14d resnetv2_50 rexnet_100 selecsls42b semnasnet_075 sequencer2d_s "
    "seresnet50 shvit_s1 skresnet18 starnet_s1 swiftformer_xs swinv2_tiny_window8_256 tiny_vit_5m_224 tinynet_e "
    "tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small visformer_tiny vit_tiny_patch16_224 "
    "vitamin_small_224 volo_d1_224 xception41 xcit_nano_12_p16_224 "
)
"""A small net of each family of timm."""
LIMIT = 1e-4
ROUNDS = 5
TURN = 0.2
"""Seconds that one of them runs before it is the other's turn."""


def exported(
    name: str, exporter: str, folder: Path, size: int
) -> tuple[Path, torch.Tensor, list[np.ndarray[Any, Any]]]:
    """A net's file, an input and PyTorch's outputs for it."""
    module = twin(name)
    x = torch.randn(_shape(name, size), generator=torch.Generator().manual_seed(1))
    path = folder / f"{name.replace('/', '_')}_{size}_{exporter}.onnx"
    with torch.no_grad():
        outputs = module(x)
    outputs = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), str(path), dynamo=exporter == "new", verbose=False)
    return path, x, [o.numpy() for o in outputs]


def _shape(name: str, size: int) -> tuple[int, ...]:
    if name.startswith("timm/"):
        return (1, *import_module("timm").get_pretrained_cfg(TIMM[name]).input_size)
    if name.endswith("d_18"):
        return (1, 3, 8, 64, 64)
    if name == "inception_v3":
        return (1, 3, max(size, 128), max(size, 128))
    return (1, 3, 224, 224) if name.startswith(FIXED_SIZE) else (1, 3, size, size)


def times(program: Program, path: Path, x: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Median milliseconds of processor time of netc and ONNX Runtime on one thread, which take turns."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    engines = (lambda: program(x), lambda: session.run(None, feed))
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for engine, calls in zip(engines, found, strict=True):
            engine()  # finds the caches full of the other's
            end = time.process_time() + TURN
            while not calls or time.process_time() < end:
                start = time.process_time()
                engine()
                calls.append(1e3 * (time.process_time() - start))
    return statistics.median(found[0]), statistics.median(found[1])


def check(name: str, exporter: str, folder: Path, *, meaning: bool, timed: bool) -> bool:
    """Print a line about a net; True if it agrees."""
    try:
        path, x, wanted = exported(name, exporter, folder, 224 if timed else 96)
    except Exception as error:  # whatever PyTorch raises
        print(f"{name} {exporter}: NOT EXPORTED: {str(error).strip().splitlines()[:1]}", flush=True)
        return True
    start = time.perf_counter()
    try:
        graph = load(path)
    except NetcError as error:
        print(f"{name} {exporter}: REFUSED\n{error}", flush=True)
        return False
    took = time.perf_counter() - start
    speed = ""
    if meaning:
        results = list(evaluate(graph, [x.numpy()]))
    else:
        program = compile_graph(graph, threads=1)
        result = program(x.numpy())
        if timed:
            own, theirs = times(program, path, x.numpy())
            speed = f", {own:.2f} ms to {theirs:.2f} ms: {own / theirs:.2f}"
        results = list(result) if isinstance(result, tuple) else [result]
    far = max(float(np.abs(r - w).max() / max(np.ptp(w), 1e-30)) for r, w in zip(results, wanted, strict=True))
    left = transposes_left(graph)
    counts = Counter(op.name for op in graph.operations if op.name not in ("constant", "param"))
    common = ", ".join(f"{n} {k}" for k, n in counts.most_common(6))
    transposes = f"{left.inside} inside, {left.rearranging} rearranging, {left.outside} outside"
    print(f"{name} {exporter}: {far:.1e}, {transposes}{speed}, read in {took:.1f} s ({common})", flush=True)
    return far <= LIMIT


def main() -> int:
    """Check the nets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*TORCHVISION, *TIMM, *(f"timm/{n}" for n in FAMILIES.split())])
    parser.add_argument("--exporter", choices=("old", "new"), action="append")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files there, and take those that are there")
    parser.add_argument("--times", action="store_true", help="compare the time with ONNX Runtime's")
    parser.add_argument("--meaning", action="store_true", help="evaluate in NumPy instead of compiling")
    options = parser.parse_args()
    torch.set_num_threads(1)
    agrees = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names:
            if name.startswith("timm/"):
                TIMM[name] = name.removeprefix("timm/")
            for exporter in options.exporter or ("old", "new"):
                agrees &= check(name, exporter, folder, meaning=options.meaning, timed=options.times)
                gc.collect()
                if not options.keep:
                    for file in folder.iterdir():
                        file.unlink()
    return int(not agrees)


if __name__ == "__main__":
    sys.exit(main())
