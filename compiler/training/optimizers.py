"""Optimisers: how a parameter, its gradient and what the optimiser remembers make the next value of the parameter.

Each optimiser is a frozen dataclass whose fields are its options. Numbers that all parameters share (the learning
rate, bias corrections) are scalars computed once in f64; the rest is elementwise (but for `Muon`'s products of
matrices), so that an update is one pass over the parameter, its gradient and its slots.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from .formula import Formula
from .setting import Setting, parse_setting

Slots = Mapping[str, Formula]
"""What the optimiser remembers about a parameter, by name; each has the parameter's shape."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(Setting):
    """Base of the optimisers."""

    kind: ClassVar[str] = "optimizer"
    shares: ClassVar[tuple[str, ...]] = ()
    """Options from 0 up to, but not including, 1."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Options above 0."""
    lr: float
    """Base learning rate; the schedule multiplies it."""
    weight_decay: float = 0.0
    """Factor of the parameter that is added to its gradient (L2 regularisation) where nothing else is said."""

    def __post_init__(self) -> None:
        self.require(self.lr >= 0, "lr must not be negative")
        self.require(0 <= self.weight_decay < math.inf, "weight_decay must be a finite number, and not negative")
        for name in self.shares:
            self.require(0 <= getattr(self, name) < 1, f"{name} must lie in 0 <= {name} < 1")
        for name in self.positive:
            self.require(getattr(self, name) > 0, f"{name} must be positive")

    @property
    @abstractmethod
    def slots(self) -> Mapping[str, str]:
        """Names of the slots and how they start (`init` of a `param`)."""

    def scalars(self, rate: Formula, updates: Formula) -> Mapping[str, Formula]:
        """Scalars that all parameters share, in f64, from the learning rate and the number of updates before this."""
        return {"rate": rate}

    @abstractmethod
    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """The next value of a parameter and of its slots.

        `decay` is `weight_decay`, or 0 for parameters that are excluded from it; scalars have the parameter's type.
        """


def _decayed(gradient: Formula, weight: Formula, decay: float) -> Formula:
    """The gradient with that of L2 regularisation."""
    return gradient + weight * decay if decay else gradient


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch: v = momentum * v + g, w = w - lr * v.

    With `nesterov`, w = w - lr * (g + momentum * v). Source of the latter: Sutskever et al., 2013.
    """

    name: ClassVar[str] = "sgd"
    shares: ClassVar[tuple[str, ...]] = ("momentum",)
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.require(not self.nesterov or self.momentum > 0, "nesterov needs momentum above 0")

    @property
    def slots(self) -> Mapping[str, str]:
        """See `Optimizer`."""
        return {"momentum": "zeros"} if self.momentum else {}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        gradient = _decayed(gradient, weight, decay)
        if not self.momentum:
            return weight - gradient * scalars["rate"], {}
        velocity = slots["momentum"] * self.momentum + gradient
        step = gradient + velocity * self.momentum if self.nesterov else velocity
        return weight - step * scalars["rate"], {"momentum": velocity}


@dataclass(frozen=True, kw_only=True)
class RmsProp(Optimizer):
    """RMSProp as TensorFlow and EfficientNet have it: s = decay * s + (1 - decay) * g^2, starting from 1;
    v = momentum * v + lr * g / sqrt(s + eps), w = w - v.

    Unlike PyTorch's, eps stands inside the root and the rate inside the momentum. Source: Tan and Le,
    "EfficientNet", 2019.
    """

    name: ClassVar[str] = "rmsprop"
    shares: ClassVar[tuple[str, ...]] = ("decay", "momentum")
    positive: ClassVar[tuple[str, ...]] = ("eps",)
    decay: float = 0.9
    momentum: float = 0.9
    eps: float = 1e-3

    @property
    def slots(self) -> Mapping[str, str]:
        """See `Optimizer`."""
        return {"square": "ones", **({"momentum": "zeros"} if self.momentum else {})}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        gradient = _decayed(gradient, weight, decay)
        square = slots["square"] * self.decay + gradient * gradient * (1 - self.decay)
        step = gradient * scalars["rate"] / (square + self.eps).sqrt()
        if not self.momentum:
            return weight - step, {"square": square}
        velocity = slots["momentum"] * self.momentum + step
        return weight - velocity, {"square": square, "momentum": velocity}


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam with bias correction as in PyTorch; weight decay adds to the gradient.

    m = beta1 * m + (1 - beta1) * g, s = beta2 * s + (1 - beta2) * g^2 and, after t updates with this one,
    w = w - lr / (1 - beta1^t) * m / (sqrt(s) / sqrt(1 - beta2^t) + eps). Source: Kingma and Ba, "Adam", 2015.
    """

    name: ClassVar[str] = "adam"
    shares: ClassVar[tuple[str, ...]] = ("beta1", "beta2")
    positive: ClassVar[tuple[str, ...]] = ("eps",)
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    @property
    def slots(self) -> Mapping[str, str]:
        """See `Optimizer`."""
        return {"mean": "zeros", "square": "zeros"}

    def scalars(self, rate: Formula, updates: Formula) -> Mapping[str, Formula]:
        """See `Optimizer`."""
        first, second = (1 - _power(beta, updates + 1) for beta in (self.beta1, self.beta2))
        return {"rate": rate, "step": rate / first, "scale": 1 / second.sqrt()}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        return self._adapt(weight, _decayed(gradient, weight, decay), slots, scalars)

    def _adapt(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula]
    ) -> tuple[Formula, Slots]:
        mean, square = self._moments(gradient, slots)
        return weight - self._step(mean, square, scalars), {"mean": mean, "square": square}

    def _moments(self, gradient: Formula, slots: Slots) -> tuple[Formula, Formula]:
        """Moving averages of the gradient and of its square."""
        mean = slots["mean"] * self.beta1 + gradient * (1 - self.beta1)
        return mean, slots["square"] * self.beta2 + gradient * gradient * (1 - self.beta2)

    def _step(self, mean: Formula, square: Formula, scalars: Mapping[str, Formula]) -> Formula:
        return mean * scalars["step"] / (square.sqrt() * scalars["scale"] + self.eps)


def _power(base: float, exponent: Formula) -> Formula:
    """A number to the power of a formula."""
    return (exponent * math.log(base)).exp() if base else exponent.number(0)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay as in PyTorch: the parameter shrinks by lr * weight_decay first.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    name: ClassVar[str] = "adamw"
    weight_decay: float = 1e-2

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        if decay:
            weight = weight * (1 - scalars["rate"] * decay)
        return self._adapt(weight, gradient, slots, scalars)


@dataclass(frozen=True, kw_only=True)
class Lamb(AdamW):
    """Adam with decoupled decay and a rate for each layer: r = Adam's step without the rate + decay * w,
    w = w - lr * |w| / |r| * r.

    The ratio of norms is 1 where one of them is 0, and for parameters of rank below 2: biases and normalisation.
    Source: You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020, algorithm 2.
    """

    name: ClassVar[str] = "lamb"
    eps: float = 1e-6

    def scalars(self, rate: Formula, updates: Formula) -> Mapping[str, Formula]:
        """See `Optimizer`."""
        return {**super().scalars(rate.number(1), updates), "rate": rate}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        mean, square = self._moments(gradient, slots)
        step = self._step(mean, square, scalars)
        if decay:
            step = step + weight * decay
        rate = scalars["rate"]
        if weight.type.rank >= 2:
            size, length = ((x * x).sum().sqrt() for x in (weight, step))
            both = size.minimum(length).greater(0)
            rate = rate * both.where(size / both.where(length, length.number(1)), size.number(1))
        return weight - step * rate, {"mean": mean, "square": square}


@dataclass(frozen=True, kw_only=True)
class Lars(Optimizer):
    """SGD with momentum and a rate for each layer: v = momentum * v + lr * ratio * (g + decay * w), w = w - v.

    ratio = trust * |w| / (|g| + decay * |w| + eps) for weights of rank 2 and more where both norms are above 0, else
    1: biases and normalisation keep the global rate. Source: You, Gitman, Ginsburg, "Large batch training of
    convolutional networks", 2017.
    """

    name: ClassVar[str] = "lars"
    shares: ClassVar[tuple[str, ...]] = ("momentum",)
    positive: ClassVar[tuple[str, ...]] = ("trust", "eps")
    momentum: float = 0.9
    trust: float = 1e-3
    eps: float = 1e-9

    @property
    def slots(self) -> Mapping[str, str]:
        """See `Optimizer`."""
        return {"momentum": "zeros"}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        rate = scalars["rate"]
        if weight.type.rank >= 2:
            rate = rate * self._ratio(weight, gradient, decay)
        velocity = slots["momentum"] * self.momentum + _decayed(gradient, weight, decay) * rate
        return weight - velocity, {"momentum": velocity}

    def _ratio(self, weight: Formula, gradient: Formula, decay: float) -> Formula:
        size, slope = ((x * x).sum().sqrt() for x in (weight, gradient))
        ratio = size * self.trust / (slope + size * decay + self.eps)
        return size.minimum(slope).greater(0).where(ratio, ratio.number(1))


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal: v = momentum * v + g, w = w - lr * scale * O(g + momentum * v).

    A weight [..., C, F] counts as a matrix M of F columns, and O(M) is close to U V^T of its singular value
    decomposition U S V^T: all directions move at about the same speed (five steps of a Newton-Schulz iteration leave
    singular values between 0.7 and 1.2). scale = sqrt(max(1, columns / rows)). Parameters of rank below 2 move by
    lr * (g + momentum * v) and don't decay; the decay of matrices is decoupled, as in AdamW. Costs products of each
    weight with its Gram matrix in each step. Source: Jordan et al., "Muon: an optimizer for hidden layers in neural
    networks", 2024.
    """

    name: ClassVar[str] = "muon"
    shares: ClassVar[tuple[str, ...]] = ("momentum",)
    momentum: float = 0.9

    @property
    def slots(self) -> Mapping[str, str]:
        """See `Optimizer`."""
        return {"momentum": "zeros"}

    def update(
        self, weight: Formula, gradient: Formula, slots: Slots, scalars: Mapping[str, Formula], decay: float
    ) -> tuple[Formula, Slots]:
        """See `Optimizer`."""
        rate = scalars["rate"]
        velocity = slots["momentum"] * self.momentum + gradient
        step = gradient + velocity * self.momentum
        if weight.type.rank >= 2:
            step = _orthogonalized(step)
            weight = weight * (1 - rate * decay) if decay else weight
        return weight - step * rate, {"momentum": velocity}


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 that raise small singular values fastest without letting any exceed 1.2."""
NEWTON_SCHULZ_STEPS = 5


def _orthogonalized(matrix: Formula) -> Formula:
    """The nearest orthogonal matrix, roughly, times sqrt(max(1, columns / rows)); leading dimensions are rows."""
    shape = matrix.type.shape
    rows, columns = math.prod(shape[:-1]), shape[-1]
    x = matrix.apply("reshape", shape=(rows, columns))
    x = x / ((x * x).sum().sqrt() + 1e-7)
    if rows < columns:
        x = _newton_schulz(x.apply("matmul", x, transpose_b=True)) @ x * math.sqrt(columns / rows)
    else:
        x = x @ _newton_schulz(x.apply("matmul", x, transpose_a=True))
    return x.apply("reshape", shape=shape)


def _newton_schulz(gram: Formula) -> Formula:
    """What the iteration multiplies X by, from the Gram matrix G of its columns (or rows; then from the left).

    A step multiplies X by Q = first I + third G + fifth G^2, and so G by Q^2: all these are polynomials of the first G,
    which commute. So X, usually much longer than wide, takes part only before and after, not in every step.
    """
    first, third, fifth = NEWTON_SCHULZ
    size = gram.type.shape[0]
    numbers = gram.with_value(gram.builder.constant(np.arange(size, dtype=np.int32)))
    diagonal = numbers.apply("one_hot", depth=size, dtype=str(gram.type.dtype)) * first
    product = step = diagonal + gram * third + gram @ gram * fifth
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = gram @ step @ step
        step = diagonal + gram * third + gram @ gram * fifth
        product = product @ step
    return product


OPTIMIZERS: Mapping[str, type[Optimizer]] = MappingProxyType(
    {o.name: o for o in (Sgd, RmsProp, Adam, AdamW, Lamb, Lars, Muon)}
)
"""All optimisers by name."""


def parse_optimizer(text: str) -> Optimizer:
    """Read an optimiser such as `sgd(lr=0.1, momentum=0.9)`; raises `NetcError`."""
    return parse_setting(text, Optimizer.kind, OPTIMIZERS)
