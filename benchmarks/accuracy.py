"""Check trained weights against what they must give: logits of single pictures, and accuracies on whole data sets.

Expectations come from `expected*.json` beside the weights. Logits may differ by its tolerance; the number of right
answers, as `netc eval` counts them, may not differ at all. Fails if one does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser, setting, table

import netc
from netc.runtime.data.folder import data_folder
from netc.runtime.data.images import Pixels, Preprocess, decode
from netc.runtime.data.registry import open_source

DATASETS = {
    "cnn_cifar": "cifar10",
    "cnn_mnist": "mnist",
    "efficientnet_lite0": "imagenet-samples",
    "efficientnet_lite2": "imagenet-samples",
    "mlp_mnist": "mnist",
    "mobilenet_v2_tf": "imagenet-samples",
}
"""The data set on which each net's accuracy is known."""


def main() -> int:
    """Check all weights; 1 if anything differs."""
    options = _options()
    folder: Path = options.weights or beside_data("weights")
    expected = [json.loads(path.read_text()) for path in sorted(folder.glob("expected*.json"))]
    rows, sound = [], True
    for net in options.nets:
        weights = folder / f"{net}.safetensors"
        tolerance, known = next(
            (e["tolerance"], e["files"][weights.name]) for e in expected if weights.name in e["files"]
        )
        error = _logit_error(net, weights, known["examples"])
        found = _evaluate(net, weights, options.batch)
        test = known["test"]
        right = [(found[key], test[key]) for key in ("top1_correct", "top5_correct") if key in test]
        sound &= error <= tolerance and all(a == b for a, b in [*right, (found["samples"], test["images"])])
        counts = ", ".join(f"{ours:,} ({theirs:,})" for ours, theirs in right)
        rows.append([net, DATASETS[net], f"{error:.1e}", f"{found['samples']:,}", counts, f"{found['top1']:.2%}"])
        print(*rows[-1], file=sys.stderr)
    print(setting("pillow"), end="\n\n")
    print(table(["net", "data", "logits differ by", "samples", "right: top-1, top-5 (expected)", "top-1"], rows))
    print(f"\n{'All as expected' if sound else 'NOT as expected'}; logits may differ by what the file says.")
    return int(not sound)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--weights", type=Path, help="folder of weights and expected.json; default: beside the data")
    p.add_argument("--nets", nargs="+", default=sorted(DATASETS), choices=sorted(DATASETS), metavar="NET")
    p.add_argument("--batch", type=int, default=8)
    return p.parse_args()


def _logit_error(net: str, weights: Path, examples: list[dict[str, Any]]) -> float:
    graph = netc.load(net, batch=len(examples))
    preprocess = Preprocess.of(graph)
    x = np.stack([preprocess(picture) for picture in _pictures(net, examples)])
    with netc.compile(graph, weights=weights) as program:
        return float(np.abs(program(x) - np.array([example["logits"] for example in examples])).max())


def _pictures(net: str, examples: list[dict[str, Any]]) -> list[Pixels]:
    """The pictures of the examples: single files, or samples of the data set by index."""
    if DATASETS[net] == "imagenet-samples":
        return [decode(data_folder() / example["input"]) for example in examples]
    indices = [example["index"] for example in examples]
    first = [picture for picture, _ in islice(open_source(DATASETS[net], "test"), max(indices) + 1)]
    return [first[index] for index in indices]


def _evaluate(net: str, weights: Path, batch: int) -> dict[str, Any]:
    command = ["netc", "eval", net, "--weights", str(weights), "--data", DATASETS[net], "--batch", str(batch), "--json"]
    output = subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, Any] = json.loads(output)
    return result


if __name__ == "__main__":
    sys.exit(main())
