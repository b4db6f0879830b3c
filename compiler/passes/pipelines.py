"""The default pipelines, in the form in which people write them.

They hold what is right for every machine. Backends add what they decide about algorithms and layouts.
"""

from __future__ import annotations

INFERENCE = ",".join(
    [
        # Mathematics: what inference doesn't need goes, the rest takes its simplest form.
        "canonicalize",
        "fold-batch-norm",
        "merge-convolutions",
        "simplify-inference",
        "skip-padding",
        "decompose",
        "widen-sums",
        "optimize-bodies",
        "split-dense",
        "canonicalize",
        "fold-constants",
        "cse",
        "dce",
        "fold-tables",
        "sum-bytes",
        "sum-quantized",
        # Towards the machine: what runs together.
        "fuse",
    ]
)
"""From the graph of a network to the one that a backend takes."""


def training(memory: str = "recompute") -> str:
    """From the graph of a training step to the one that a backend takes.

    `memory` is the pass that saves memory: recompute, checkpoint with its options, or nothing.
    """
    return ",".join(
        [
            # The step holds batch norm and dropout in their training form, and gradients of everything.
            # What is frozen has it in its inference form.
            "canonicalize",
            "fold-batch-norm",
            "lower-gradients",
            "decompose",
            "widen-sums",
            "optimize-bodies",
            "canonicalize",
            "fold-constants",
            "cse",
            "dce",
            # What is computed twice to spare memory stays apart: no cse from here on.
            "duplicate",
            # The order of a sum depends on its group, which must be the same whatever saves memory.
            "fuse{others=false}",
            *([memory] if memory else []),
            "fuse{rows=false}",
            "fuse-updates",
            "fuse-sums",
        ]
    )


TRAINING = training()
"""The default: cheap activations are made again."""
