"""Resizing and sampling at places between elements."""

from __future__ import annotations

from typing import Any

from netc.compiler.types import DType

from .case import OpCase

_RULES = (
    {"size": (11, 4), "mode": "linear"},
    {"size": (3, 13), "mode": "linear", "coordinates": "align_corners"},
    {"size": (7, 7), "mode": "linear", "scales": (1.5, 1.2), "coordinates": "half_pixel_symmetric"},
    {"size": (1, 9), "mode": "cubic", "coordinates": "pytorch_half_pixel"},
    {"size": (12, 5), "mode": "cubic", "coordinates": "asymmetric", "exclude_outside": True, "coefficient": -0.5},
    {"size": (3, 2), "mode": "cubic", "antialias": True, "coefficient": -0.5},
    {"size": (2, 7), "mode": "linear", "antialias": True},
    {"size": (3, 4), "mode": "area"},
    {"size": (3, 12), "mode": "nearest", "coordinates": "asymmetric"},
    {"size": (10, 18), "mode": "nearest", "rounding": "round_prefer_floor"},
    {"size": (7, 4), "mode": "nearest", "rounding": "ceil", "scales": (1.5, 0.7)},
)
_RESIZED = tuple(OpCase("resize", ((2, 5, 6, 3),), rules) for rules in _RULES)
_CELLS: tuple[dict[str, Any], ...] = (
    {"size": (2, 3), "spatial_scale": 0.7, "sampling_ratio": 2},
    {"size": (2, 3), "aligned": True},
)
_BATCH: dict[str, Any] = {"dtypes": {2: DType.I32}, "below": {1: 8, 2: 2}}

CASES: tuple[OpCase, ...] = (
    *_RESIZED,
    OpCase("resize", ((1, 4, 3, 37),), {"size": (8, 6), "mode": "linear"}),
    OpCase("resize", ((2, 5, 1),), {"size": (9,), "mode": "linear"}),
    OpCase("resize", ((1, 3, 2, 3, 2),), {"size": (4, 4, 2), "mode": "linear"}),
    OpCase("resize", ((2, 4, 5, 3),), {"size": (8, 10), "mode": "nearest"}, dtypes={0: DType.I8}, below={0: 9}),
    OpCase("resize_gradient", ((2, 11, 4, 3),), {"input_size": (5, 6), "mode": "linear"}),
    OpCase("resize_gradient", ((2, 3, 9, 33),), {"input_size": (5, 6), "mode": "nearest"}),
    OpCase("resize_gradient", ((1, 40, 20),), {"input_size": (3,), "mode": "cubic"}),
    OpCase("interpolate", ((3, 5, 7), (4, 3), (4, 3)), {"axis": 1}, dtypes={1: DType.I32}, below={1: 5}),
    OpCase("interpolate", ((3, 5), (4, 2), (4, 2)), {"axis": -1}, dtypes={1: DType.I32}, below={1: 5}),
    OpCase("weighted_gather", ((9, 21), (4, 11), (4, 11)), dtypes={1: DType.I32}, below={1: 9}),
    OpCase("weighted_gather", ((1, 1), (1, 3), (1, 3)), dtypes={1: DType.I32}, below={1: 1}),
    OpCase("weighted_scatter", ((11, 21), (4, 11), (4, 11)), {"rows": 9}, dtypes={1: DType.I32}, below={1: 9}),
    OpCase("weighted_scatter", ((1, 3), (2, 1), (2, 1)), {"rows": 4}, dtypes={1: DType.I32}, below={1: 4}),
    OpCase("gathered_dot", ((9, 21), (4, 11), (11, 21)), dtypes={1: DType.I32}, below={1: 9}),
    # boxes
    *(OpCase("roi_align", ((2, 5, 6, 19), (3, 4), (3,)), rule, positive=True, **_BATCH) for rule in _CELLS),
    *(OpCase("roi_align_max", ((2, 5, 6, 19), (3, 4), (3,)), rule, **_BATCH) for rule in _CELLS),
    *(
        OpCase("roi_align_gradient", ((3, 2, 3, 19), (3, 4), (3,)), {"input_shape": (2, 5, 6), **rule}, **_BATCH)
        for rule in _CELLS
    ),
    OpCase("non_max_suppression", ((40, 4), (40,)), {"count": 12, "iou_threshold": 0.2}, below={0: 9, 1: 7}),
    OpCase("non_max_suppression", ((9, 4), (9,)), {"count": 20, "score_threshold": 2.0}, below={0: 5, 1: 7}),
    OpCase("non_max_suppression", ((1, 4), (1,)), {"count": 1}),
    OpCase("non_max_suppression", ((30, 4), (30,)), {"count": 9, "iou_threshold": 0.3, "any_corners": True}),
    OpCase("non_max_suppression", ((0, 4), (0,)), {"count": 3}),
    OpCase("soft_non_max_suppression", ((40, 4), (40,)), {"count": 12, "iou_threshold": 0.2}, below={0: 9, 1: 7}),
    OpCase(
        "soft_non_max_suppression", ((30, 4), (30,)), {"count": 40, "iou_threshold": 0.9, "sigma": 0.5}, below={1: 4}
    ),
    OpCase("soft_non_max_suppression", ((9, 4), (9,)), {"count": 20, "score_threshold": 2.0}, below={0: 5, 1: 7}),
    OpCase("soft_non_max_suppression", ((1, 4), (1,)), {"count": 1, "sigma": 0.5}),
    OpCase("soft_non_max_suppression", ((0, 4), (0,)), {"count": 3}),
    OpCase("roi_align", ((1, 3, 2, 4), (0, 4), (0,)), {"size": (1, 2)}, dtypes={2: DType.I32}),
    OpCase("weighted_gather", ((4, 3), (2, 0), (2, 0)), dtypes={1: DType.I32}),
)
