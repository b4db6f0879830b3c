"""Random programs of PyTorch as text, for `torch_random.py`: each line makes a tensor of those before it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

_UNARY = """
    torch.relu({f}) ; torch.sigmoid({f}) ; torch.tanh({f}) ; torch.exp({f}) ; torch.expm1({f}) ; torch.sin({f}) ;
    torch.cos({f}) ; torch.atan({f}) ; torch.erf({f}) ; torch.erfc({f}) ; torch.abs({f}) ; torch.neg({f}) ;
    torch.sign({f}) ; torch.floor({f}) ; torch.ceil({f}) ; torch.round({f}) ; torch.trunc({f}) ; torch.frac({f}) ;
    torch.square({f}) ; torch.asinh({f}) ; torch.sinh({f}) ; torch.cosh({f}) ; torch.exp2({f}) ; torch.sinc({f}) ;
    torch.deg2rad({f}) ; torch.rad2deg({f}) ; torch.positive({f}) ; torch.isnan({f}) ; torch.isinf({f}) ;
    torch.isfinite({f}) ; torch.isneginf({f}) ; torch.signbit({f}) ; torch.logical_not({f}) ; torch.nan_to_num({f}) ;
    torch.reciprocal({f}) ; torch.sgn({f}) ; torch.zeros_like({f}) ; torch.ones_like({f}) ; F.gelu({f}) ;
    F.silu({f}) ; F.mish({f}) ; F.softplus({f}) ; F.elu({f}) ; F.celu({f}) ; F.selu({f}) ; F.hardtanh({f}) ;
    F.hardswish({f}) ; F.hardsigmoid({f}) ; F.relu6({f}) ; F.leaky_relu({f}) ; F.logsigmoid({f}) ; F.tanhshrink({f}) ;
    F.softshrink({f}) ; F.hardshrink({f}) ; F.softsign({f}) ; torch.sqrt({f}) ; torch.rsqrt({f}) ; torch.log({f}) ;
    torch.log1p({f}) ; torch.log2({f}) ; torch.log10({f}) ; torch.asin({f}) ; torch.acos({f}) ; torch.atanh({f}) ;
    torch.acosh({f}) ; torch.tan({f}) ; torch.lgamma({f}) ; torch.digamma({f}) ; torch.special.entr({f}) ;
    F.gelu({f}, approximate='tanh') ; F.softplus({f}, beta={pos}, threshold={pos}) ; F.elu({f}, alpha={num}) ;
    F.leaky_relu({f}, {num}) ; F.hardtanh({f}, {neg}, {pos}) ; F.threshold({f}, {num}, {num}) ;
    F.softshrink({f}, {pos}) ; torch.clamp({a}, {num}, {num}) ; torch.clamp({f}, min={num}) ;
    torch.clamp({a}, max={int}) ; torch.clamp({f}, {f}, {f}) ; torch.round({f}, decimals={small}) ;
    torch.logit({f}, eps=0.1) ; torch.nan_to_num({f} / {f}.round(), nan={num}, posinf={num}, neginf={num}) ;
    F.glu({f}, {dim}) ; F.rrelu({f}) ; {f}.rsub({num}) ; torch.polygamma(1, {f}.abs() + 1) ;
    F.prelu({f}, torch.tensor([0.3]))
"""
_BINARY = """
    {a} + {a} ; {a} - {a} ; {a} * {a} ; {f} / ({f}.abs() + 0.5) ; {a} / {int} ; {a} * {num} ; {a} + {int} ;
    {num} - {a} ; {num} / ({f}.abs() + 1) ; {a} ** 2 ; {f}.abs() ** {num} ; {int} ** {f} ; {f} ** {small} ;
    torch.maximum({a}, {a}) ; torch.minimum({a}, {a}) ; torch.fmax({f}, {f}) ; torch.fmin({f}, {f}) ;
    torch.add({a}, {a}, alpha={int}) ; torch.sub({f}, {f}, alpha={num}) ; torch.fmod({f}, {num}) ;
    torch.fmod({i}, {int}) ; torch.remainder({f}, {num}) ; torch.remainder({i}, {int}) ; {a} // {int} ; {a} % {int} ;
    torch.div({a}, {num}, rounding_mode='floor') ; torch.div({a}, {int}, rounding_mode='trunc') ;
    torch.atan2({f}, {f}) ; torch.hypot({f}, {f}) ; torch.copysign({f}, {f}) ; {a} > {a} ; {a} <= {num} ; {a} == {a} ;
    {a} != {int} ; {a}.lt({a}) ; torch.logical_and({a}, {a}) ; torch.logical_or({a}, {a}) ;
    torch.logical_xor({a}, {a}) ; {i} & {i} ; {i} | {int} ; {i} ^ {i} ; ~{i} ; ~{b} ; {b} & {b} ; {b} | {b} ;
    {i} << {small} ; {i} >> {small} ; torch.where({b}, {a}, {a}) ; torch.where({b}, {a}, {num}) ;
    torch.where({f} > 0, {f}, {int}) ; torch.lerp({f}, {f}, {num}) ; torch.lerp({f}, {f}, {f}) ;
    torch.addcmul({f}, {f}, {f}, value={num}) ; torch.addcdiv({f}, {f}, {f}.abs() + 1, value={num}) ;
    torch.logaddexp({f}, {f}) ; torch.xlogy({f}, {f}.abs() + 1) ; torch.ldexp({f}, {i}) ; torch.heaviside({f}, {f}) ;
    torch.isclose({f}, {f}) ; torch.floor_divide({a}, {int}) ; torch.true_divide({i}, {int}) ;
    torch.rsub({a}, {a}, alpha={int}) ; torch.dist({f}, {f}) ; torch.special.xlog1py({f}, {f}.abs()) ;
    torch.nextafter({f}, {f}) ; torch.gcd({i}, {i}) ; torch.float_power({f}.abs(), {num}) ; {b} + {a} ; {b} * {f} ;
    {i} * {num} ; {i} / {i}.clamp(1) ; torch.pow({int}, {i}.clamp(0, 3)) ; {i} ** {small}
"""
_VIEWS = """
    {a}.reshape(-1) ; {a}.flatten({dim}) ; {a}.reshape({shape}) ; {a}.contiguous().view({shape}) ;
    {a}.permute({order}) ; {a}.transpose({dim}, {dim2}) ; {a}.mT ; {a}.squeeze() ; {a}.squeeze({dim}) ;
    {a}.unsqueeze({dim}) ; {a}.unsqueeze(-1) ; {a}.unsqueeze({dim}).expand({wide}) ; {a}.repeat({counts}) ;
    {a}.repeat_interleave({count}, dim={dim}) ; torch.tile({a}, ({count},)) ; {a}.narrow({dim}, 0, {count}) ;
    {a}.select({dim}, {place}) ; {a}[{index}] ; {a}[..., {place}] ; {a}[:, None] ; {a}[..., ::{count}] ;
    {a}[..., -{count}:] ; {a}[..., :-1] ; {a}[1:] ; torch.split({a}, {count}, {dim})[-1] ;
    torch.chunk({a}, {count}, {dim})[0] ; torch.unbind({a}, {dim})[{place}] ; torch.stack([{a}, {same}], {dim}) ;
    torch.cat([{a}, {same}], {dim}) ; torch.cat([{a}, {same}.to(torch.float32)], {dim}) ; {a}.flip({dim}) ;
    torch.roll({a}, {int}, {dim}) ; torch.roll({a}, {int}) ; torch.rot90({a}, {small}, (0, 1)) ;
    torch.diagonal({a}, {small}, {dim}, {dim2}) ; {a}.tril({small}) ; {a}.triu(-{small}) ;
    torch.movedim({a}, {dim}, {dim2}) ; {a}.unfold({dim}, {count}, {count2}) ; F.pad({a}, ({small}, {small2})) ;
    F.pad({f}, ({small}, {small2}, -1, {small}), value={num}) ; F.pad({f}, ({small}, {small2}), mode='reflect') ;
    F.pad({f}, ({small}, {small2}), mode='replicate') ;
    F.pad({f}, ({small}, {small2}, {small2}, {small}), mode='circular') ;
    torch.index_select({a}, {dim}, torch.tensor([0, {place}, 0])) ; {a}[torch.tensor([0, -1, {place}])] ;
    {a}[:, torch.tensor([[0], [{place}]])] ; {a}[torch.tensor([0, {place}]), :, torch.tensor([0, 0])] ;
    torch.gather({a}, {dim}, {same}.long().clamp(0, 0)) ; torch.gather({a}, {dim}, torch.argsort({same}, {dim})) ;
    torch.take_along_dim({a}, {same}.argmax({dim}, keepdim=True), {dim}) ; {a}.masked_fill({same} > 0, {num}) ;
    {a}.scatter({dim}, torch.zeros_like({a}, dtype=torch.int64), {same}) ;
    {f}.scatter_add({dim}, {same}.long().clamp(0, 0), {f}) ;
    {f}.index_add({dim}, torch.tensor([0]), {f}.narrow({dim}, 0, 1), alpha={num}) ;
    {f}.index_copy({dim}, torch.tensor([0]), {f}.narrow({dim}, 0, 1)) ;
    {a}.index_fill({dim}, torch.tensor([0]), {int}) ; torch.take({a}, torch.tensor([0, {place}])) ;
    torch.diag_embed({a}, {small}) ; F.one_hot({i}.clamp(0, 3).long(), 5) ; F.pixel_shuffle({f}, 2) ;
    F.pixel_unshuffle({f}, 2) ; F.channel_shuffle({f}, 2) ; F.unfold({f}, ({count}, {count2}), padding={small}) ;
    {a}.unflatten({dim}, (1, -1)) ; {a}.swapaxes({dim}, {dim2}) ; torch.atleast_3d({a}) ;
    torch.select_scatter({f}, {f}.select({dim}, 0) * 2, {dim}, 0) ;
    torch.slice_scatter({f}, {f}.narrow({dim}, 0, 1) - 1, {dim}, 0, 1) ;
    {f}.as_strided(({count}, {count2}), (1, {small})) ; torch.hstack([{a}, {same}]) ; torch.vstack([{a}, {same}]) ;
    torch.broadcast_tensors({a}, {a})[0] ; torch.tensor_split({a}, {count}, {dim})[-1]
"""
_REDUCTIONS = """
    {f}.mean({dim}, keepdim={bool}) ; {f}.amax({dim}, keepdim={bool}) ; {f}.amin({dim}, keepdim={bool}) ;
    {f}.std({dim}, keepdim={bool}) ; {f}.var({dim}, keepdim={bool}) ; {f}.logsumexp({dim}, keepdim={bool}) ;
    {f}.nansum({dim}, keepdim={bool}) ; {f}.norm({dim}, keepdim={bool}) ; {a}.sum({dim}) ; {a}.prod({dim}) ;
    {a}.argmax({dim}) ; {a}.argmin({dim}) ; {a}.any({dim}) ; {a}.all({dim}) ; {a}.count_nonzero({dim}) ;
    {a}.cumsum({dim}) ; {a}.cumprod({dim}) ; {a}.sum() ; {a}.max() ; {a}.min() ; {a}.prod() ; {a}.any() ; {a}.all() ;
    {a}.argmax() ; {a}.argmin() ; {a}.count_nonzero() ; {f}.mean() ; {f}.std() ; {f}.var() ; {f}.norm() ;
    {f}.median() ; {a}.max({dim}).values ; {a}.max({dim}, keepdim=True).indices ; {a}.min({dim})[0] ;
    {f}.mean(({dim}, {dim2})) ; {a}.sum(({dim}, {dim2}), keepdim=True) ; {f}.var({dim}, correction={small}) ;
    torch.var_mean({f}, {dim})[1] ; torch.std_mean({f}, {dim})[0] ; F.softmax({f}, {dim}) ;
    F.log_softmax({f}, {dim}) ; F.softmin({f}, {dim}) ; torch.linalg.vector_norm({f}, {num}, {dim}) ;
    torch.linalg.vector_norm({f}, float('inf')) ; {f}.norm(p={small}, dim={dim}) ;
    torch.topk({a}, {count}, {dim}).values ; torch.topk({f}, {count}, {dim}, largest=False).indices ;
    torch.sort({a}, {dim}, descending={bool}).values ; torch.argsort({f}, {dim}) ; torch.cummax({f}, {dim}).values ;
    torch.logcumsumexp({f}, {dim}) ; torch.aminmax({f}).max ; torch.kthvalue({f}, {count}, {dim}).values ;
    {i}.sum({dim}, dtype=torch.float32) ; {f}.sum({dim}, dtype=torch.float64) ; F.normalize({f}, dim={dim}) ;
    F.normalize({f}, p=1, dim={dim}) ; F.cosine_similarity({f}, {f}, dim={dim}) ; torch.linalg.norm({f}) ;
    torch.diff({f}, dim={dim}) ; torch.median({f}, {dim}).values ; torch.cumsum({f}, {dim}).flip({dim}) ;
    F.softmax({f}, {dim}, dtype=torch.float64) ; torch.mode({i}, {dim}).values ; {b}.sum({dim}) ; {b}.float().mean() ;
    torch.trapezoid({f}, dim={dim})
"""
_PRODUCTS = """
    {f} @ {f} ; {f} @ {f}.mT ; {f}.mT @ {f} ; torch.matmul({f}, torch.ones({f}.shape[-1])) ;
    torch.outer({f}.reshape(-1)[:5], {f}.reshape(-1)[:4]) ; torch.einsum('...ij,...kj->...ik', {f}, {f}) ;
    torch.einsum('...ij->...i', {f}) ; torch.einsum('a...,a...->...', {f}, {f}) ;
    torch.einsum('ij,ij->ij', {f}, {f}) ; torch.einsum('ii->i', {f} @ {f}.mT) ; torch.tensordot({f}, {f}, 1) ;
    torch.kron({f}[:2], {f}[:1]) ; torch.addmm({f}.reshape(-1)[0], {f}, {f}.mT, beta={num}, alpha={num}) ;
    torch.baddbmm({f}[:, :1, :1], {f}, {f}.mT, beta={num}, alpha={num}) ; torch.cdist({f}, {f}) ;
    torch.cross({f}[..., :3], {f}.exp()[..., :3], dim=-1) ; torch.trace({f}) ;
    F.linear({f}, {f}.reshape(-1, {f}.shape[-1])[:4]) ;
    F.bilinear({f}, {f}, torch.ones(2, {f}.shape[-1], {f}.shape[-1])) ; torch.matrix_power({f} @ {f}.mT, 2) ;
    torch.inner({f}, {f}) ; torch.chain_matmul({f}, {f}.mT) ; torch.vdot({f}.reshape(-1), {f}.reshape(-1)) ;
    F.scaled_dot_product_attention({f}, {f}, {f}) ; F.scaled_dot_product_attention({f}, {f}, {f}, is_causal=True) ;
    F.scaled_dot_product_attention({f}, {f}, {f}, {f} @ {f}.mT > 0) ;
    F.scaled_dot_product_attention({f}, {f}, {f}, {f} @ {f}.mT, scale={num}) ;
    F.conv2d({f}, {f}[:, :, :2, :2], padding='same') ; F.conv1d({f}, torch.ones(2, {f}.shape[1], 1)) ;
    F.conv_transpose1d({f}, torch.ones({f}.shape[1], 2, 2), stride=2)
"""
_RESIZES = """
    F.interpolate({f}, scale_factor=2) ; F.interpolate({f}, scale_factor=1.7, mode='bilinear') ;
    F.interpolate({f}, size=({count}, {count2}), mode='bilinear', align_corners=True) ;
    F.interpolate({f}, size=({count}, 7), mode='bicubic') ;
    F.interpolate({f}, scale_factor=0.6, mode='nearest-exact') ; F.interpolate({f}, size=5, mode='linear') ;
    F.interpolate({f}, scale_factor=2.3, mode='nearest', recompute_scale_factor=True) ;
    F.interpolate({f}, size=(3, 4), mode='area') ; F.interpolate({f}, size=(3, 4), mode='bilinear', antialias=True) ;
    F.max_pool2d({f}, {count}, {count2}, ceil_mode={bool}) ; F.max_pool1d({f}, {count}, 1, dilation={count2}) ;
    F.avg_pool2d({f}, {count}, {count2}, ceil_mode={bool}, count_include_pad={bool}, padding={small}) ;
    F.avg_pool2d({f}, 2, divisor_override=3) ; F.avg_pool1d({f}, {count}, {count2}) ;
    F.adaptive_avg_pool2d({f}, ({count}, {count2})) ; F.adaptive_max_pool2d({f}, ({count}, {count2})) ;
    F.adaptive_avg_pool1d({f}, {count}) ; F.lp_pool2d({f}, 2, {count}) ; F.max_pool3d({f}, 2, 1) ;
    F.max_pool2d({f}, 2, return_indices=True)[1] ;
    F.grid_sample({f}, torch.tanh({f}[:, :2, :2, -2:]), align_corners={bool}) ; F.local_response_norm({f}, {count}) ;
    F.layer_norm({f}, {f}.shape[-1:]) ; F.group_norm({f}, 1) ; F.instance_norm({f}) ;
    F.rms_norm({f}, {f}.shape[-1:])
"""
_CHANGES = """
    {f}.clone().add_({num}) ; {f}.clone().mul_({f}) ; {a}.clone().fill_({int}) ; {f}.clone().clamp_({neg}, {pos}) ;
    torch.relu_({f}.clone()) ; {f}.clone().masked_fill_({same} > 0, {num}) ; {a}.clone().zero_() ;
    {f}.clone().copy_({f}) ; {f}.clone().fill_diagonal_({num}) ; put({a}, ({index},), {num}) ;
    put({a}, (..., {place}), {a}) ; put({f}, (slice(None), slice(None, None, 2)), {f}) ; put({f}, ({f} > 0,), {num}) ;
    put({f}, (torch.tensor([0, {place}]),), {f}) ; through({f}, lambda v: v.view(-1)[1:].mul_({num})) ;
    through({f}, lambda v: v.transpose(0, -1).add_({f})) ; through({f}, lambda v: v[..., :2].copy_({f}[..., :2])) ;
    through({f}, lambda v: v.unsqueeze(0).squeeze(0).sub_({f})) ; through({a}, lambda v: v.select({dim}, 0).zero_()) ;
    {f}.clone().index_add_(0, torch.tensor([0]), {f}[:1]) ; {f}.clone().addcmul_({f}, {f}, value={num}) ;
    {f}.clone().exp_() ; {i}.clone().add_({int})
"""
_TYPES = """
    {a}.float() ; {a}.double() ; {a}.long() ; {a}.int() ; {a}.bool() ; {a}.half() ; {i}.to(torch.uint8) ;
    {i}.to(torch.int8) ; {i}.to(torch.int16) ; {a}.type_as({a}) ; torch.arange({a}.shape[{dim}]) ;
    torch.arange(0, {num}, 0.3) ; torch.linspace({neg}, {pos}, {count}) ; torch.full_like({a}, {int}) ;
    torch.full(({count}, 1), {num}) ; torch.eye({count}) ; torch.tensor({a}.shape) ;
    {a}.new_zeros({count}, {count2}) ; {a} * {a}.shape[{dim}] ; {a} + {a}.numel() ; torch.scalar_tensor({num}) ;
    torch.tensor([{num}, {int}, float('inf')]) ; torch.ones_like({a}, dtype=torch.int64) ; {f}.to(torch.bfloat16) ;
    {f}.bfloat16().float() ; {f}.half().float() ; torch.result_type({a}, {a}) and {a} ;
    {f}.size(-1) / {f}.abs().add(1) ;
    torch.meshgrid(torch.arange({count}), torch.arange({count2}), indexing='ij')[1] ;
    torch.tril_indices({count}, {count2}) ; torch.bucketize({f}, torch.tensor([-1.0, 0.0, 0.5])) ;
    torch.finfo({f}.dtype).eps + {f} ;
    torch.nn.functional.embedding({i}.long().clamp(0, 2), torch.arange(6.0).reshape(3, 2))
"""
FAMILIES: dict[str, tuple[tuple[str, ...], int]] = {
    name: (tuple(text.strip() for text in templates.split(" ;")), weight)
    for name, templates, weight in (
        ("unary", _UNARY, 3),
        ("binary", _BINARY, 4),
        ("views", _VIEWS, 5),
        ("reductions", _REDUCTIONS, 3),
        ("products", _PRODUCTS, 2),
        ("resizes", _RESIZES, 2),
        ("changes", _CHANGES, 2),
        ("types", _TYPES, 2),
    )
}
"""Templates, and how often one of them is drawn."""
LARGEST = 4000
"""Elements of a tensor, at most."""


def put(x: Any, place: Any, value: Any) -> Any:
    """A copy, with other numbers at a place."""
    x = x.clone()
    x[place] = value
    return x


def through(x: Any, change: Callable[[Any], Any]) -> Any:
    """A copy that was changed by way of a view."""
    x = x.clone()
    change(x)
    return x


class Drawing:
    """Words for the places of a template, by the tensors that there are."""

    def __init__(self, rng: random.Random, tensors: dict[str, Any]) -> None:
        self.rng, self.tensors, self.last = rng, tensors, torch.zeros(())

    def filled(self, template: str) -> str:
        """A template with all its places filled, from the left."""
        text = ""
        while "{" in template:
            before, _, rest = template.partition("{")
            word, _, template = rest.partition("}")
            text += before + self._word(word)
        return text + template

    def _tensor(self, fits: Callable[[Any], bool]) -> str:
        names = [name for name, t in self.tensors.items() if fits(t)]
        if not names:
            raise ValueError
        recent = self.rng.random() < 0.6
        name = self.rng.choice(names[-3:] if recent else names)
        self.last = self.tensors[name]
        return name

    def _word(self, word: str) -> str:
        rng, x = self.rng, self.last
        rank = max(x.ndim, 1)
        place = rng.randrange(rank)
        kinds: dict[str, Callable[[], Any]] = {
            "f": lambda: self._tensor(lambda t: t.is_floating_point()),
            "i": lambda: self._tensor(lambda t: not t.is_floating_point() and t.dtype != torch.bool),
            "b": lambda: self._tensor(lambda t: t.dtype == torch.bool),
            "a": lambda: self._tensor(lambda _: True),
            "same": lambda: self._tensor(lambda t: t.shape == x.shape),
            "num": lambda: rng.choice([0.5, -1.5, 2.0, 1e-3, 3, -1, 0.1, 1.0, 1e-8, 100.0, -0.0]),
            "pos": lambda: rng.choice([0.5, 1, 2.0, 3.25, 20]),
            "neg": lambda: rng.choice([-0.5, -1, 0, -2.25]),
            "int": lambda: rng.choice([1, 2, 3, -1, -2, 5, 7, 255]),
            "small": lambda: rng.randint(0, 2),
            "small2": lambda: rng.randint(0, 2),
            "count": lambda: rng.randint(1, 3),
            "count2": lambda: rng.randint(1, 3),
            "bool": lambda: rng.choice([True, False]),
            "dim": lambda: place - rank * rng.randint(0, 1),
            "dim2": lambda: rng.randrange(rank),
            "place": lambda: rng.choice([0, 0, 1, -1, -2]),
            "order": lambda: ", ".join(map(str, rng.sample(range(x.ndim), x.ndim))),
            "counts": lambda: ", ".join(str(rng.randint(1, 2)) for _ in range(x.ndim + rng.randint(0, 1))),
            "shape": lambda: self._shape(),
            "wide": lambda: ", ".join(
                str(rng.choice([-1, 2, 3]) if n == 1 else -1) for n in (*x.shape, 1)[: x.ndim + 1]
            ),
            "index": lambda: self._index(),
        }
        return str(kinds[word]())

    def _shape(self) -> str:
        size = self.last.numel()
        factors = [f for f in range(1, 9) if size % f == 0]
        first = self.rng.choice(factors)
        second = self.rng.choice([f for f in factors if size // first % f == 0])
        return self.rng.choice([f"{first}, -1", f"{first}, {second}, -1", f"-1, {first}", f"{size // first}, {first}"])

    def _index(self) -> str:
        words = "0 ; -1 ; ..., 0 ; slice(None), 0 ; slice(1, None) ; slice(None, -1), ... ; None, ..., -1"
        return self.rng.choice(words.split(" ; "))


def layer(rng: random.Random, x: Any) -> str:
    """A module of random options for a float tensor, as text."""
    c, last, flag, other = (x.shape[1] if x.ndim > 1 else 1), (x.shape[-1] if x.ndim else 1), *_flags(rng)
    groups = rng.choice([1, 1, c, *(g for g in (2, 3) if c % g == 0)])
    out, k, s = groups * rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 2)
    d, p, n = rng.randint(1, 2), rng.randint(0, 2), max(x.ndim - 2, 1)
    mode = rng.choice(["zeros", "zeros", "reflect", "replicate", "circular"])
    heads = rng.choice([h for h in (1, 2, 3, 4) if last % h == 0])
    recurrent = f"{last}, {rng.randint(1, 5)}, {rng.randint(1, 2)}, batch_first={flag}, bidirectional={other}"
    smooth = ("linear", "bilinear", "trilinear")[min(n, 3) - 1]
    choices = [
        f"nn.Conv{n}d({c}, {out}, {k}, {s}, {p}, {d}, {groups}, {flag}, '{mode}')",
        f"nn.Conv{n}d({c}, {out}, {k}, padding='same', dilation={d}, groups={groups})",
        f"nn.ConvTranspose{n}d({c}, {out}, {k}, {s}, {min(p, k - 1)}, {rng.randint(0, s - 1)}, {groups}, {flag}, {d})",
        f"nn.Linear({last}, {rng.randint(1, 9)}, bias={flag})",
        f"nn.BatchNorm{n}d({c}, affine={flag})",
        f"nn.LayerNorm({[*x.shape[-rng.randint(1, 2) :]]}, elementwise_affine={flag})",
        f"nn.GroupNorm({rng.choice([g for g in (1, 2, 3, c) if c % g == 0])}, {c}, affine={flag})",
        f"nn.InstanceNorm{n}d({c}, affine={flag}, track_running_stats={other})",
        f"nn.RMSNorm({last})",
        f"nn.PReLU({rng.choice([1, c])})",
        f"nn.LocalResponseNorm({rng.randint(1, 4)})",
        f"nn.TransformerEncoderLayer({last}, {heads}, 8, batch_first={flag}, norm_first={other})",
        f"nn.TransformerEncoderLayer({last}, {heads}, 8, activation='gelu', bias={flag})",
        f"Own(nn.MultiheadAttention({last}, {heads}, batch_first={flag}, bias={other}), 3)",
        f"Own(nn.MultiheadAttention({last}, {heads}, add_bias_kv=True, add_zero_attn={flag}), 3)",
        *(f"Own(nn.{kind}({recurrent}), 1)" for kind in ("LSTM", "GRU", "RNN")),
        f"nn.utils.parametrizations.weight_norm(nn.Linear({last}, 4))",
        f"nn.utils.parametrizations.spectral_norm(nn.Conv{n}d({c}, 3, 1))",
        f"nn.Sequential(nn.Dropout(0.5), nn.AdaptiveAvgPool{n}d({k}), nn.Flatten({rng.choice([0, 1])}))",
        f"nn.Upsample(scale_factor={rng.choice([2, 1.5, 3])}, mode='{smooth}', align_corners={flag})",
        f"nn.ReflectionPad{n}d({p})",
        f"nn.CELU({rng.choice([0.5, 2.0])})",
    ]
    return rng.choice(choices)


def _flags(rng: random.Random) -> tuple[bool, bool]:
    return rng.random() < 0.5, rng.random() < 0.5
