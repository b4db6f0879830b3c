"""Twins of shipped nets: modules of torchvision, timm and `paper_nets.py`, with weights that make mistakes visible."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from dense_twins import DENSE, DETECTION, dense_twin, freeze_norms
from paper_nets import PAPER_NETS
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

TIMM = {
    "mobilenet_v1": "mobilenetv1_100",
    "nasnet_large": "nasnetalarge",
    "pnasnet5large": "pnasnet5large",
    **{f"efficientnet_lite{i}": f"tf_efficientnet_lite{i}" for i in range(5)},
    **{f"efficientnet_edgetpu_{size}": f"tf_efficientnet_e{size}" for size in "sml"},
}
"""Names in timm."""

TORCHVISION = (
    "alexnet",
    *(f"vgg{depth}{norm}" for norm in ("", "_bn") for depth in (11, 13, 16, 19)),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "wide_resnet50_2",
    "resnext50_32x4d",
    "googlenet",
    "inception_v3",
    "squeezenet1_0",
    "squeezenet1_1",
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "mnasnet1_0",
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "regnet_x_400mf",
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf")),
    *(f"efficientnet_b{i}" for i in range(8)),
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    *(f"convnext_{size}" for size in ("tiny", "small", "base")),
    *(f"vit_{size}" for size in ("b_16", "b_32", "l_16", "l_32")),
    *(f"swin_{size}" for size in "tsb"),
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
)
"""Names in torchvision, which are netc's."""

TWINS = (*TORCHVISION, *TIMM, *PAPER_NETS, *DENSE)
FIXED_SIZE = ("timm/", "alexnet", "vgg", "mobilenet_v2", "efficientnet_edgetpu", "vit", "swin", *PAPER_NETS, *DETECTION)
"""Beginnings of the names of nets that take inputs of one size only."""
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def twin(name: str, seed: int = 0) -> nn.Module:
    """The module, in evaluation mode, with weights drawn by `seed` and statistics of its own activations.

    Factors and shifts of batch normalisation are drawn, too: ones and zeros would hide mistakes.
    """
    torch.manual_seed(seed)
    models = torchvision().models
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in TIMM:
            module = import_module("timm").create_model(TIMM[name])
        elif name in PAPER_NETS:
            module = PAPER_NETS[name]()
        elif name in DENSE:
            module = dense_twin(name, models)
        else:
            module = getattr(models, name, None) or getattr(models.video, name)
            module = module(**OPTIONS.get(name, {}))
    _without_padding_in_means(module)
    draw(module)
    _draw_statistics(module, _sample(name))
    freeze_norms(name, module)
    return module.eval()


@cache
def torchvision() -> ModuleType:
    """torchvision; its networks work without its compiled operators, of which only importing it complains."""
    register: Callable[..., Any] = torch.library.register_fake

    def tolerant(name: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(name, str) and name.startswith("torchvision::"):
            return lambda function: function
        return register(name, *arguments, **options)

    torch.library.register_fake = tolerant
    try:
        return import_module("torchvision")
    finally:
        torch.library.register_fake = register


def _without_padding_in_means(module: nn.Module) -> None:
    """Means with TensorFlow's padding count zeros in timm where the stride is 2; TensorFlow doesn't count them."""
    for part in module.modules():
        if type(part).__name__ == "AvgPool2dSame":
            part.forward = _MeanOfInside(part)


class _MeanOfInside:
    def __init__(self, pool: nn.Module) -> None:
        self.total = type(pool).forward.__get__(pool)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.total(x) / self.total(torch.ones_like(x[:1, :1]))
        return result


def _sample(name: str) -> torch.Tensor:
    """What batch normalisation takes its statistics from."""
    if name == "alphazero":
        return torch.randn(4, 119, 8, 8)
    if name.endswith("d_18") or name == "mc3_18":
        return torch.randn(2, 3, 8, 64, 64)
    if name.startswith("timm/"):
        return torch.randn(4, *import_module("timm").get_pretrained_cfg(TIMM[name]).input_size)
    side = 299 if name == "inception_v3" else 224 if name.startswith(("alexnet", "vgg")) else 128
    return torch.randn(4, 3, side, side)


def draw(module: nn.Module) -> None:
    """Draw what starts at a constant, and would hide mistakes."""
    for name, parameter in module.named_parameters():
        if parameter.numel() > 1 and not torch.any(parameter != parameter.flatten()[0]):
            constant = float(parameter.detach().flatten()[0])
            nn.init.normal_(parameter, constant, 0.2 if constant else 0.02)
        if name.endswith("layer_scale"):
            nn.init.uniform_(parameter, 0.05, 0.2)


def _draw_statistics(module: nn.Module, sample: torch.Tensor) -> None:
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
    if norms:
        momenta = [norm.momentum for norm in norms]
        module.train()
        with torch.no_grad(), torch.random.fork_rng():
            for norm in norms:
                norm.momentum = 1.0
            module(sample)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def training_mode(module: nn.Module) -> Iterator[None]:
    """Batch statistics, but nothing dropped."""
    module.train()
    for part in module.modules():
        if isinstance(part, nn.Dropout) or type(part).__name__ in ("StochasticDepth", "DropPath"):
            part.eval()
        if hasattr(part, "drop_rate"):
            part.drop_rate = 0.0
    yield
    module.eval()


def multiply_accumulates(module: nn.Module, x: tuple[torch.Tensor, ...]) -> int:
    """Of convolutions and products of matrices, for a whole batch."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*x)
    torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops() // 2)
