"""Tabulate finished training runs: accuracy on the test split after the last epoch, and after the best one.

Takes the folders that `netc train` made. The best epoch is chosen by the test split itself, so the last one is the
honest number. Fails if the last accuracy of a shipped net misses its target.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import parser, setting, table

from netc.runtime.training.run import read_description, read_records

TARGETS = {"perceptron": 0.995, "mlp_mnist": 0.983, "cnn_mnist": 0.993, "cnn_cifar": 0.80, "resnet20": 0.89}


def main() -> int:
    """Print the table; 1 if a target is missed."""
    rows, reached = [], True
    for run in _options().runs:
        recipe = read_description(run)["recipe"]
        epochs = [record for record in read_records(run) if record["kind"] == "epoch"]
        if len(epochs) < recipe["epochs"]:
            raise SystemExit(f"{run} is not finished: {len(epochs)} of {recipe['epochs']} epochs")
        accuracies = [record["test_accuracy"] for record in epochs]
        target = TARGETS.get(recipe["model"])
        reached &= target is None or accuracies[-1] >= target
        rows.append(
            [
                recipe["model"],
                str(recipe["seed"]),
                str(recipe["epochs"]),
                f"{accuracies[-1]:.2%}",
                f"{max(accuracies):.2%}",
                "" if target is None else f"{target:.1%}",
                f"{sum(record['seconds'] for record in epochs):.0f} s",
            ]
        )
    print(setting("pillow"), end="\n\n")
    print(table(["net", "seed", "epochs", "last epoch", "best epoch", "target", "time in steps"], rows))
    print(f"\n{'All' if reached else 'NOT all'} targets reached after the last epoch.")
    return int(not reached)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    return p.parse_args()


if __name__ == "__main__":
    sys.exit(main())
