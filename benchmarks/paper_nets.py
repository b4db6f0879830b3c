"""Modules of PyTorch for shipped nets that have no twin in torchvision or timm, with the names of netc's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VoxNet(nn.Module):
    """Maturana, Scherer, 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(1, 32, 5, stride=2), nn.Conv3d(32, 32, 3)
        self.fc1, self.fc2 = nn.Linear(6912, 128), nn.Linear(128, 40)

    def forward(self, occupancy: Tensor) -> Tensor:
        """[N, 1, 32, 32, 32] to [N, 40]."""
        x = F.leaky_relu(self.conv1(occupancy), 0.1)
        x = F.max_pool3d(F.leaky_relu(self.conv2(x), 0.1), 2)
        result: Tensor = self.fc2(F.relu(self.fc1(x.permute(0, 2, 3, 4, 1).flatten(1))))
        return result


class _Column(nn.Module):
    def __init__(self, widths: list[int], window: int) -> None:
        super().__init__()
        self.depth, self.window, before = len(widths), window, 1
        for i, width in enumerate(widths):
            self.add_module(f"conv{i + 1}_1", nn.Conv1d(before, width, 5, padding=2))
            self.add_module(f"conv{i + 1}_2", nn.Conv1d(width, width, 5, padding=2))
            before = width

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            for j in (1, 2):
                x = F.relu(self.get_submodule(f"conv{i + 1}_{j}")(x))
            x = F.max_pool1d(x, self.window, 2)
        return x.permute(0, 2, 1).flatten(1)


class AstroNet(nn.Module):
    """Shallue, Vanderburg, 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("global", _Column([16, 32, 64, 128, 256], 5))
        self.add_module("local", _Column([16, 32], 7))
        for i in range(4):
            self.add_module(f"fc{i + 1}", nn.Linear(16576 if i == 0 else 512, 512))
        self.output = nn.Linear(512, 1)

    def forward(self, global_view: Tensor, local_view: Tensor) -> Tensor:
        """[N, 1, 2001] and [N, 1, 201] to [N, 1]."""
        columns = self.get_submodule("global")(global_view), self.get_submodule("local")(local_view)
        x = torch.cat(columns, 1)
        for i in range(4):
            x = F.relu(self.get_submodule(f"fc{i + 1}")(x))
        return torch.sigmoid(self.output(x))


class _ConvBn(nn.Module):
    def __init__(self, before: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, filters, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv(x))
        return result


class _Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self[1](F.relu(self[0](x))))


class AlphaZero(nn.Module):
    """Silver et al., 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvBn(119, 256, 3)
        self.tower = nn.Sequential(*(_Residual(_ConvBn(256, 256, 3), _ConvBn(256, 256, 3)) for _ in range(19)))
        self.policy = nn.ModuleList([_ConvBn(256, 256, 3), nn.Conv2d(256, 73, 1)])
        self.value = nn.ModuleList([_ConvBn(256, 1, 1), nn.Linear(64, 256), nn.Linear(256, 1)])

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 119, 8, 8] to [N, 73, 8, 8] and [N, 1]."""
        x = self.tower(F.relu(self.stem(planes)))
        policy = self.policy[1](F.relu(self.policy[0](x)))
        hidden = F.relu(self.value[1](F.relu(self.value[0](x)).flatten(1)))
        return policy, torch.tanh(self.value[2](hidden))


class _Block(nn.Module):
    def __init__(self, convolutions: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.ModuleList(nn.LayerNorm(128) for _ in range(convolutions))
        self.conv = nn.ModuleList(
            nn.ModuleDict(
                {
                    "depthwise": nn.Conv1d(128, 128, kernel, padding=kernel // 2, groups=128, bias=False),
                    "pointwise": nn.Conv1d(128, 128, 1),
                }
            )
            for _ in range(convolutions)
        )
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(128), nn.LayerNorm(128)
        self.attention = nn.MultiheadAttention(128, 8, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(128, 128), nn.Linear(128, 128))

    def forward(self, x: Tensor) -> Tensor:
        x = x + _positions(x.shape[1])
        for norm, conv in zip(self.norm, self.conv, strict=True):
            y = norm(x).transpose(1, 2)
            x = x + F.relu(conv["pointwise"](conv["depthwise"](y))).transpose(1, 2)
        y = self.attention_norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        first, second = self.feed_forward
        result: Tensor = x + second(F.relu(first(self.feed_forward_norm(x))))
        return result


def _positions(length: int) -> Tensor:
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(64) * -(math.log(10000) / 63))
    return torch.cat([torch.sin(angles), torch.cos(angles)], 1)


class _Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(200, 200)
        self.highway = nn.ModuleList(
            nn.ModuleDict({"gate": nn.Linear(500, 500), "transform": nn.Linear(500, 500)}) for _ in range(2)
        )
        self.projection = nn.Linear(500, 128)

    def forward(self, words: Tensor, letters: Tensor) -> Tensor:
        x = torch.cat([words.transpose(1, 2), self.characters(letters).amax(2)], 2)
        for layer in self.highway:
            gate = torch.sigmoid(layer["gate"](x))
            x = gate * F.relu(layer["transform"](x)) + (1 - gate) * x
        result: Tensor = self.projection(x)
        return result


class _ContextQueryAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.context, self.question = nn.Linear(128, 1, bias=False), nn.Linear(128, 1, bias=False)
        self.product = nn.Parameter(torch.randn(128) * 0.05)

    def forward(self, c: Tensor, q: Tensor) -> Tensor:
        scores = self.context(c) + self.question(q).transpose(1, 2) + (c * self.product) @ q.transpose(1, 2)
        rows = torch.softmax(scores, 2)
        a = rows @ q
        b = rows @ (torch.softmax(scores, 1).transpose(1, 2) @ c)
        return torch.cat([c, a, c * a, c * b], 2)


class QANet(nn.Module):
    """Yu et al., 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = _Embedding()
        self.embedding_encoder = nn.Sequential(_Block(4, 7))
        self.attention = _ContextQueryAttention()
        self.resize = nn.Linear(512, 128)
        self.model_encoder = nn.Sequential(*(_Block(2, 5) for _ in range(7)))
        self.start, self.end = nn.Linear(256, 1), nn.Linear(256, 1)

    def forward(
        self, context: Tensor, context_letters: Tensor, question: Tensor, question_letters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[N, 300, L], [N, L, 16], [N, 300, M] and [N, M, 16] to [N, L] twice."""
        c = self.embedding_encoder(self.embedding(context, context_letters))
        q = self.embedding_encoder(self.embedding(question, question_letters))
        first = self.model_encoder(self.resize(self.attention(c, q)))
        second = self.model_encoder(first)
        third = self.model_encoder(second)
        start = self.start(torch.cat([first, second], 2)).squeeze(2)
        return start, self.end(torch.cat([first, third], 2)).squeeze(2)


PAPER_NETS: dict[str, Callable[[], nn.Module]] = {
    "voxnet": VoxNet,
    "astronet": AstroNet,
    "alphazero": AlphaZero,
    "qanet": QANet,
}
"""Modules by the names of their nets."""
