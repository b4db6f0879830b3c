"""Passes from graph to graph: `run(graph, "fold-batch-norm,fuse")`, or each by itself, `fuse(graph)`.

A lower-case name is the pass with its default options; the class of the same name takes others:
`AssignLayouts(pitch=False)(graph)`. `differentiate(graph, of="loss", wrt=["w"])` and `jvp(graph, wrt=["x"])`
take what to differentiate besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..graph.ir import Graph
from . import pipelines
from .assign_axes import AssignAxes, assign_axes
from .assign_layouts import AssignLayouts, assign_layouts
from .base import Pass, format_pipeline
from .base import parse_pipeline as _parse_pipeline
from .canonicalize import Canonicalize, canonicalize
from .channels_last_ends import ChannelsLastEnds, channels_last_ends
from .checkpoint import Checkpoint, checkpoint
from .cse import Cse, cse
from .dce import Dce, dce
from .decompose import Decompose, decompose
from .differentiate import Differentiate, differentiate
from .duplicate import Duplicate, duplicate
from .float_weights import FloatWeights, float_weights
from .fold_batch_norm import FoldBatchNorm, fold_batch_norm
from .fold_constants import FoldConstants, fold_constants
from .fold_tables import FoldTables, fold_tables
from .form_attention import FormAttention, form_attention
from .fuse import Fuse, fuse
from .fuse_sums import FuseSums, fuse_sums
from .fuse_updates import FuseUpdates, fuse_updates
from .half_constants import HalfConstants, half_constants
from .jvp import Jvp, jvp
from .legalize_edgetpu import LegalizeEdgeTpu, legalize_edgetpu
from .lower_gradients import LowerGradients, lower_gradients
from .manager import Observer, PassManager, Step, Timing, print_after, print_changed, record_timings
from .merge_convolutions import MergeConvolutions, merge_convolutions
from .optimize_bodies import OptimizeBodies, optimize_bodies
from .order_operations import OrderOperations, order_operations
from .recompute import Recompute, recompute
from .simplify_inference import SimplifyInference, simplify_inference
from .skip_padding import SkipPadding, skip_padding
from .split_batch import SplitBatch, split_batch
from .split_dense import SplitDense, split_dense
from .sum_bytes import SumBytes, sum_bytes
from .sum_quantized import SumQuantized, sum_quantized
from .unroll_scans import UnrollScans, unroll_scans
from .verify import Verify, verify
from .widen_sums import WidenSums, widen_sums

PASSES: Mapping[str, type[Pass]] = MappingProxyType(
    {
        each.name: each
        for each in (
            AssignAxes,
            AssignLayouts,
            Canonicalize,
            ChannelsLastEnds,
            Checkpoint,
            Cse,
            Dce,
            Decompose,
            Differentiate,
            Duplicate,
            FloatWeights,
            FoldBatchNorm,
            FoldConstants,
            FoldTables,
            FormAttention,
            Fuse,
            FuseSums,
            FuseUpdates,
            HalfConstants,
            Jvp,
            LegalizeEdgeTpu,
            LowerGradients,
            MergeConvolutions,
            OptimizeBodies,
            OrderOperations,
            Recompute,
            SimplifyInference,
            SkipPadding,
            SplitBatch,
            SplitDense,
            SumBytes,
            SumQuantized,
            UnrollScans,
            Verify,
            WidenSums,
        )
    }
)
"""All passes by name."""


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Read a list of passes such as `cse,assign-layouts{pitch=false}`; raises `NetcError` with near misses."""
    return _parse_pipeline(text, PASSES)


def run(
    graph: Graph, pipeline: str | Sequence[Pass], *, observers: Sequence[Observer] = (), verify: bool = True
) -> Graph:
    """Carry out a pipeline, given as text or as passes; the graph is verified before it and after each pass."""
    passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else tuple(pipeline)
    return PassManager(passes, observers, verify).run(graph)


__all__ = [
    "PASSES",
    "AssignAxes",
    "AssignLayouts",
    "Canonicalize",
    "ChannelsLastEnds",
    "Checkpoint",
    "Cse",
    "Dce",
    "Decompose",
    "Differentiate",
    "Duplicate",
    "FloatWeights",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldTables",
    "FormAttention",
    "Fuse",
    "FuseSums",
    "FuseUpdates",
    "HalfConstants",
    "Jvp",
    "LegalizeEdgeTpu",
    "LowerGradients",
    "MergeConvolutions",
    "Observer",
    "OptimizeBodies",
    "OrderOperations",
    "Pass",
    "PassManager",
    "Recompute",
    "SimplifyInference",
    "SkipPadding",
    "SplitBatch",
    "SplitDense",
    "Step",
    "SumBytes",
    "SumQuantized",
    "Timing",
    "UnrollScans",
    "Verify",
    "WidenSums",
    "assign_axes",
    "assign_layouts",
    "canonicalize",
    "channels_last_ends",
    "checkpoint",
    "cse",
    "dce",
    "decompose",
    "differentiate",
    "duplicate",
    "float_weights",
    "fold_batch_norm",
    "fold_constants",
    "fold_tables",
    "form_attention",
    "format_pipeline",
    "fuse",
    "fuse_sums",
    "fuse_updates",
    "half_constants",
    "jvp",
    "legalize_edgetpu",
    "lower_gradients",
    "merge_convolutions",
    "optimize_bodies",
    "order_operations",
    "parse_pipeline",
    "pipelines",
    "print_after",
    "print_changed",
    "recompute",
    "record_timings",
    "run",
    "simplify_inference",
    "skip_padding",
    "split_batch",
    "split_dense",
    "sum_bytes",
    "sum_quantized",
    "unroll_scans",
    "verify",
    "widen_sums",
]
