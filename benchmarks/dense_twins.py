"""Modules of torchvision for segmentation and detection that give tensors: maps of scores, and what heads say.

torchvision's choice of the best boxes needs compiled operators that don't load everywhere; netc's is compared with its
definition in `tests/frontend/test_detectors.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

SEGMENTATION = (
    "deeplabv3_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)
_PYRAMID = {"raw": True, "height": 320, "width": 256}
DETECTION: dict[str, dict[str, Any]] = {
    "ssd300_vgg16": {"raw": True},
    "ssdlite320_mobilenet_v3_large": {"raw": True},
    "retinanet_resnet50_fpn": _PYRAMID,
    "maskrcnn_resnet50_fpn": _PYRAMID,
}
"""Names in torchvision, which are netc's, and the hyperparameters with which netc's nets give the same."""
DENSE = (*SEGMENTATION, *DETECTION)

Tensors = tuple[torch.Tensor, ...]


def dense_twin(name: str, models: ModuleType) -> nn.Module:
    """The module, whose results have their channels behind the batch."""
    no_weights = {"weights": None, "weights_backbone": None}
    forward: Callable[..., Tensors]
    if name in DETECTION:
        module = getattr(models.detection, name)(**no_weights)
        forward = _proposals(module) if name.startswith("maskrcnn") else _heads(module)
    else:
        auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
        module = getattr(models.segmentation, name)(**no_weights, **auxiliary)
        forward = _maps(module.forward)
    module.forward = forward
    return module


def freeze_norms(name: str, module: nn.Module) -> None:
    """Normalise as torchvision does with published weights of pyramids."""
    for part in module.modules():
        if name.endswith("fpn") and isinstance(part, nn.BatchNorm2d):
            part.eps = 0.0


def _maps(forward: Callable[..., Any]) -> Callable[..., Tensors]:
    return lambda x: tuple(forward(x).values())


def _heads(module: Any) -> Callable[..., Tensors]:
    def forward(x: torch.Tensor) -> Tensors:
        found = module.head(list(module.backbone(x).values()))
        return found["bbox_regression"].transpose(1, 2), found["cls_logits"].transpose(1, 2)

    return forward


def _proposals(module: Any) -> Callable[..., Tensors]:
    """What the head for proposals says, all levels one after the other."""

    def forward(x: torch.Tensor) -> Tensors:
        levels = zip(*module.rpn.head(list(module.backbone(x).values())), strict=True)
        by_anchor = [[y.unflatten(1, (3, -1)).permute(0, 2, 3, 4, 1).flatten(2) for y in both] for both in levels]
        logits, deltas = (torch.cat(kind, dim=2) for kind in zip(*by_anchor, strict=True))
        return logits, deltas

    return forward
