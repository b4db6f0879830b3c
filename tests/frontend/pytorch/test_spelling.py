"""Calls that PyTorch's exporter lacks or gets wrong, which are said in others before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

import netc  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402

from .modules import Does, Pair, X, refusal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_scattered_means(dtype: Any, include_self: bool) -> None:
    """PyTorch's exporter makes a scatter of them that keeps the last element."""
    places = torch.tensor([[0, 2, 2, 0, 2], [1, 1, 1, 1, 0]])

    def means(x: Any) -> Any:
        return x[:, :4].scatter_reduce(1, places, x, "mean", include_self=include_self)

    def in_place(x: Any) -> Any:
        y = x[:, :4].clone()
        return y.scatter_reduce_(1, places, x, "mean", include_self=include_self)

    x = (torch.arange(10).reshape(2, 5) ** 2 - 20).to(dtype)
    for function in (means, in_place):
        (result,) = evaluate(netc.from_torch(Does(function).eval(), x), [x.numpy()])
        np.testing.assert_allclose(result, function(x).numpy(), 1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.functional.avg_pool2d(x, 3, 2, 1, divisor_override=5),
        lambda x: nn.functional.avg_pool2d(x, (2, 3), padding=1, ceil_mode=True, divisor_override=2),
        lambda x: nn.functional.avg_pool3d(x, 2, ceil_mode=True, count_include_pad=False, divisor_override=3),
        lambda x: nn.functional.interpolate(x, scale_factor=2.4, mode="bilinear", align_corners=True),
        lambda x: nn.functional.interpolate(x, scale_factor=(0.7, 1.3), mode="bicubic", align_corners=True),
        lambda x: nn.functional.interpolate(x, scale_factor=1.7, mode="bilinear"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=1.3, mode="bilinear"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=1.3, mode="bicubic"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=(1.2, 0.6), mode="nearest"),
        lambda x: nn.functional.interpolate(x[:, :, 0, :3], scale_factor=1.3, mode="linear"),
        lambda x: nn.functional.interpolate(x[:, :, 0, :3], scale_factor=1.3, mode="nearest"),
        lambda x: nn.functional.interpolate(x[:, None, :3, :4, :5], scale_factor=1.3, mode="trilinear"),
        lambda x: (x * 9).to(torch.int64).mean((1, 2), dtype=torch.float32),
        lambda x: x.mean(None, keepdim=True),
        lambda x: x.clone().copy_(x[0, 1, 2].exp()),
        lambda x: x.to(torch.int64).copy_(x[:, :1] * 9),
        lambda x: x.norm(3, keepdim=True),
        lambda x: torch.linalg.vector_norm(x, float("inf"), keepdim=True),
        lambda x: x.argmax(None, keepdim=True),
        lambda x: x[0, 0, 0, 0].mean(dim=[], keepdim=True),
        lambda x: torch.linalg.vector_norm(x[0, 0, 0, 0], 2, keepdim=True),
        lambda x: torch.linalg.vector_norm(x, 1e-8, 0),
        lambda x: torch.linalg.vector_norm(1e30 * x, 2, [0], keepdim=True),
        lambda x: torch.linalg.vector_norm(1e30 * x[:, :1], 3, (0, -3)),
        lambda x: torch.linalg.vector_norm(x, 0, 0),
        lambda x: torch.linalg.vector_norm(1e30 * x[0, 0, 0, 0], 3),
    ],
)
def test_arguments_that_the_exporter_passes_over(function: Any) -> None:
    x = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(2))
    (result,) = evaluate(netc.from_torch(Does(function).eval(), x), [x.numpy()])
    assert result.shape == function(x).shape
    np.testing.assert_allclose(result, function(x).numpy(), 1e-4, 1e-5)


def test_antialiasing_by_scales_that_give_no_whole_sizes_is_refused() -> None:
    def smoothed(scale: float) -> Any:
        return lambda x: nn.functional.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)

    refusal(smoothed(0.8), match="takes antialiasing by such a scale_factor for another one")
    (result,) = evaluate(netc.from_torch(Does(smoothed(0.5)).eval(), X), [X.numpy()])
    np.testing.assert_allclose(result, smoothed(0.5)(X).numpy(), 1e-4, 1e-5)


MASK = torch.tensor([[False] * 7, [True, False] * 3 + [True], [True] * 7])
"""One query attends to nothing."""


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k: attention(q, k, k * 2, MASK),
        lambda q, k: attention(q, k, k, torch.where(MASK, 0.5, -torch.inf), scale=0.2),
        lambda q, k: attention(q, k, k, torch.where(MASK, 0.5, torch.nan)),
        lambda q, k: attention(q, k[:, :2], k[:, :2], MASK[None, :, :], enable_gqa=True),
        lambda q, k: attention(q[0], k[0], k[0], MASK),
        lambda q, k: attention(q[0], k[0], k[0], is_causal=True),
        lambda q, k: attention(q.half(), k.half(), k.half(), MASK).float(),
    ],
)
def test_queries_that_attend_to_nothing_get_zeros(function: Any) -> None:
    q, k = torch.randn(2, 2, 4, 7, 8, generator=torch.Generator().manual_seed(3)).unbind()
    (result,) = evaluate(netc.from_torch(Pair(function).eval(), (q[:, :, :3], k)), [q[:, :, :3].numpy(), k.numpy()])
    wanted = function(q[:, :, :3], k).numpy()
    np.testing.assert_allclose(result, wanted, 2e-3 if "half" in str(function) else 1e-3, 2e-3)


def attention(*given: Any, **named: Any) -> Any:
    """Scores, softmax and values, as PyTorch has them."""
    return nn.functional.scaled_dot_product_attention(*given, **named)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_of_classes(reduction: str, smoothing: float) -> None:
    draws = torch.Generator().manual_seed(4)
    x, weight = torch.randn(3, 6, 4, generator=draws), torch.rand(6, generator=draws)
    targets = torch.randint(0, 6, (3, 4), generator=draws)
    named: dict[str, Any] = {"reduction": reduction, "ignore_index": int(targets[0, 0])}
    loss = nn.functional.cross_entropy

    def losses(x: Any, y: Any) -> Any:
        found = [nn.functional.nll_loss(x, y, weight, **named)]
        for weights in (None, weight):
            found.append(loss(x, y, weights, label_smoothing=smoothing, **named))
            found.append(loss(x[1, :, 2], y[1, 2], weights, label_smoothing=smoothing, **named))
            impossible = torch.where(torch.arange(6) == y[2, 3], x[2, :, 3], -torch.inf)  # all classes but one
            found.append(loss(impossible, y[2, 3], weights, label_smoothing=smoothing, **named))
            found.append(loss(x, x.softmax(1), weights, label_smoothing=smoothing, reduction=reduction))
        return found

    results = evaluate(netc.from_torch(Pair(losses).eval(), (x, targets)), [x.numpy(), targets.numpy()])
    for result, wanted in zip(results, losses(x, targets), strict=True):
        np.testing.assert_allclose(result, wanted.numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.median(1),
        lambda x: x.median(),
        lambda x: x.kthvalue(3, 2, keepdim=True),
        lambda x: x.round().sort(dim=2, descending=True, stable=True),
        lambda x: x.round().argsort(dim=1, stable=True),
        lambda x: x.to(torch.int64).clamp(-0.5, 1),
        lambda x: nn.functional.adaptive_max_pool1d(x[0], 4),
        lambda x: nn.functional.adaptive_max_pool2d(x, (3, 4), return_indices=True),
        lambda x: nn.functional.adaptive_max_pool2d(x[:, :, :6, :8], (3, 2), return_indices=True),
        lambda x: nn.functional.adaptive_avg_pool3d(x, (2, 3, 4)),
        lambda x: [torch.cdist(x[0, 0], x[0, 1], p) for p in (0.0, 1.0, 2.0, 3.0, float("inf"))],
        lambda x: torch.cdist(x.reshape(-1, 9), x[0, 0] + 0.1),
        lambda x: torch.cdist(x.reshape(-1, 1), x.reshape(-1, 1) + 100, 2.0, "donot_use_mm_for_euclid_dist"),
        lambda x: torch.cdist(x[0, 0], x[0, 1], 2.0, "use_mm_for_euclid_dist"),
        lambda x: torch.cdist(x[0, 0] / (x[0, 0] > 0), x[0, 1], 0.0).isnan(),
        lambda x: torch.clip(x.to(torch.int64), 0, 0.5),
        lambda x: [x.cumprod(2), (x * 1e-20).cumprod(3), (x * 3).to(torch.int32).cumprod(1), x[0, 0, 0, 0].cumprod(0)],
        lambda x: torch.cummax(x.round(), 2),
        lambda x: [torch.linalg.inv(x[..., :7].roll(1, 2)), x[0, 0, :3, :3].inverse(), torch.linalg.det(x[..., :7])],
        lambda x: torch.linalg.inv_ex(torch.stack([torch.diag(x[0, 0, 0, :4]), x[0, 0, :4, :4] * 0 + 1]))[1],
        lambda x: torch.cummin(torch.where(x > 1.5, torch.nan, x), 3),
        lambda x: torch.cummin(x.to(torch.int64), 1),
        lambda x: torch.searchsorted(x[0, 0, 0].sort()[0], x.sort()[0].roll(1)),
        lambda x: torch.searchsorted(x[..., :5].round().sort()[0], x.round(), right=True, out_int32=True),
        lambda x: torch.searchsorted(x[..., :5].contiguous(), x, side="left", sorter=x[..., :5].argsort()),
        lambda x: x.scatter(2, torch.zeros(1, 2, 1, 9, dtype=torch.int64), x.flip(2)),
        lambda x: x.scatter_add(1, torch.zeros(1, 2, 3, 4, dtype=torch.int64), x.flip(2)),
        lambda x: [
            x.scatter_reduce(1, torch.zeros(1, 2, 3, 4, dtype=torch.int64), x.flip(2), how, include_self=False)
            for how in ("amax", "sum", "mean")
        ],
    ],
)
def test_functions_that_the_exporter_does_not_have(function: Any) -> None:
    x = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(5))
    results = evaluate(netc.from_torch(Does(function).eval(), x), [x.numpy()])
    wanted = function(x)
    for result, tensor in zip(results, [wanted] if isinstance(wanted, torch.Tensor) else wanted, strict=True):
        np.testing.assert_allclose(result, tensor.numpy(), 1e-5, 1e-5)
        assert result.dtype == tensor.numpy().dtype


@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True}, {"num_layers": 2, "batch_first": True, "bias": False, "bidirectional": True}],
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_lstms_whose_state_is_projected(options: dict[str, Any]) -> None:
    torch.manual_seed(6)
    layer = nn.LSTM(5, 7, proj_size=3, **options).eval()
    x = torch.randn(4, 4, 5)
    with torch.no_grad():
        wanted, (h, c) = layer(x)
    results = evaluate(netc.from_torch(layer, x), [x.numpy()])
    for result, tensor in zip(results, (wanted, h, c), strict=True):
        np.testing.assert_allclose(result, tensor.numpy(), 1e-5, 1e-6)


def test_integers_of_less_than_a_type_holds() -> None:
    from torch.ao.quantization.fx import _decomposed  # noqa: F401 - registers the operators

    quantize = torch.ops.quantized_decomposed.quantize_per_tensor
    x = torch.linspace(-20, 20, 41)

    def quantized(x: Any) -> Any:
        return [quantize(x, 0.1, 3, -8, 7, torch.int8), quantize(x, 0.1, 3, 0, 127, torch.uint8)]

    graph = netc.from_torch(Does(quantized).eval(), x)
    for result, wanted in zip(evaluate(graph, [x.numpy()]), quantized(x), strict=True):
        np.testing.assert_array_equal(result, wanted.numpy())


SPECIAL = [0.0, -0.0, 1.0, -1.0, 1.5, -2.5, 3.0, 0.3, -0.7, 1e-12, 90.0, -104.0, 1e9, float("inf"), float("-inf")]
SPECIAL.append(float("nan"))


FUNCTIONS: list[Callable[..., Any]] = [
    torch.atan2,
    torch.logaddexp,
    torch.logaddexp2,
    torch.remainder,
    torch.isclose,
    lambda x, y: torch.isclose(x, y, rtol=0.1, atol=0.2, equal_nan=True),
    lambda x, y: torch.div(x, y, rounding_mode="floor"),
    lambda x, y: (x // 0.3) + x.clone().remainder_(3) + x % -0.7,
    lambda x, y: nn.functional.logsigmoid(x),
    lambda x, y: nn.functional.binary_cross_entropy_with_logits(x, y.sigmoid(), reduction="none"),
    lambda x, y: nn.functional.binary_cross_entropy_with_logits(x[:9], y[:9].sigmoid(), y[:9], pos_weight=y[9:18]),
    lambda x, y: x / (x.abs() + 1e-8) + (y - 1e-9) * 1.000008,
    lambda x, y: x.clamp(-0.3, 0.7) * 0.1 + torch.fmod(x, 0.7),
    lambda x, y: torch.signbit(x) & ~torch.signbit(y * 2),
    lambda x, y: torch.sign(x) + torch.sgn(y) * 2,
    lambda x, y: torch.heaviside(x, y),
    lambda x, y: torch.xlogy(x, y.abs()) + torch.xlogy(x, 2),
    lambda x, y: torch.logit(x, 0.1),
    lambda x, y: torch.lerp(x, y, 0.7),
    torch.hypot,
    torch.copysign,
    lambda x, y: torch.copysign(x, -1.0),
    torch.fmin,
    torch.fmax,
    lambda x, y: x.clamp(-1, 0.5),
    lambda x, y: torch.stack([x.reshape(16, -1).median(1)[0], y[:256].reshape(16, 16).kthvalue(9)[0]]),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_in_which_the_exporter_loses_digits(dtype: Any) -> None:
    numbers = torch.tensor(SPECIAL, dtype=dtype)
    x, y = numbers.repeat_interleave(len(numbers)), numbers.repeat(len(numbers))
    graph = netc.from_torch(Pair(lambda x, y: tuple(f(x, y) for f in FUNCTIONS)).eval(), [x, y])
    exact = 1e-6 if dtype == torch.float32 else 1e-14
    for result, function in zip(evaluate(graph, [x.numpy(), y.numpy()]), FUNCTIONS, strict=True):
        np.testing.assert_allclose(result, function(x, y).numpy(), exact, exact)


WHOLE_FUNCTIONS: list[Callable[..., Any]] = [
    lambda x, y: torch.div(x, y | 1, rounding_mode="trunc"),
    lambda x, y: torch.div(x, y | 1, rounding_mode="floor"),
    lambda x, y: torch.div(x, 3, rounding_mode="trunc"),
    lambda x, y: (x << (y & 7)) + (x >> (y & 7)),
    lambda x, y: (x << 3) ^ (x >> 2),
]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8])
def test_integers_keep_all_digits(dtype: Any) -> None:
    ends = torch.iinfo(dtype)
    near = {n for n in (0, 1, -1, 2, -3, 7, -7, 100, 2**24 + 1, -(2**24) - 1, 2**53 + 1) if ends.min <= n <= ends.max}
    numbers = torch.tensor(sorted({*near, ends.max, ends.min + 1}), dtype=dtype)  # PyTorch aborts at ends.min // -1
    x, y = numbers.repeat_interleave(len(numbers)), numbers.repeat(len(numbers))
    graph = netc.from_torch(Pair(lambda x, y: tuple(f(x, y) for f in WHOLE_FUNCTIONS)).eval(), [x, y])
    for result, function in zip(evaluate(graph, [x.numpy(), y.numpy()]), WHOLE_FUNCTIONS, strict=True):
        np.testing.assert_array_equal(result, function(x, y).numpy())


def test_rounded_quotients_keep_the_signs_of_zeros() -> None:
    x = torch.tensor([-0.0, -0.0, 0.0, 0.0, 1.0, -1.0])
    y = torch.tensor([2.0, -2.0, 2.0, -2.0, float("inf"), -float("inf")])
    (result,) = evaluate(netc.from_torch(Pair(torch.floor_divide).eval(), [x, y]), [x.numpy(), y.numpy()])
    np.testing.assert_array_equal(np.signbit(result), np.signbit(torch.floor_divide(x, y).numpy()))


def test_results_of_another_shape_than_pytorch_has_are_refused() -> None:
    """The exporter forgets `keepdim`."""
    refusal(lambda x: torch.linalg.norm(x, keepdim=True), match=r"is f32\[\], not of the type that the file declares")


def test_results_of_another_type_than_pytorch_has_are_refused() -> None:
    """PyTorch gives bytes, the exporter truth values."""
    refusal(
        lambda x: x.to(torch.int32).to(torch.uint8).any(1),
        match=r"the exporter makes output 0 i1\[2,8,8\], PyTorch uint8",
    )
