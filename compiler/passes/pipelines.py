"""The default pipelines, in the form in which people write them."""

from __future__ import annotations

INFERENCE = ",".join(
    [
        # Mathematics: what inference doesn't need goes, the rest takes its simplest form.
        "canonicalize",
        "fold-batch-norm",
        "simplify-inference",
        "decompose",
        "canonicalize",
        "fold-constants",
        "cse",
        "dce",
        # Towards the machine: what runs together, and where it lies.
        "fuse",
        "assign-layouts",
    ]
)
"""From the graph of a network to the one that is lowered to loops."""

TRAINING = ",".join(
    [
        # The step holds batch norm and dropout in their training form, and gradients of everything.
        "canonicalize",
        "lower-gradients",
        "decompose",
        "canonicalize",
        "fold-constants",
        "cse",
        "dce",
        "fuse",
        "fuse-updates",
        "assign-layouts",
    ]
)
"""From the graph of a training step to the one that is lowered to loops."""
