"""Quantisation-aware training: the forward pass computes on the integers of the deployed program, nothing else.

Codes are held in float32, where products summed below 2**24 are exact; requantisation runs in float64, exact below
2**53. So the evaluation of this model and `qtlib.integer` cannot differ. The integers (weight codes, ``mult``,
``offset``, ``shift``, tables) come from one function, `QuantisedEncoder.plan`, which the forward pass and
`qtlib.lower` both read. Gradients pass straight through the rounding and stop where a code saturates.

With x = s_x (c_x - z_x), w = s_w c_w and a BatchNorm y = g z + h folded into the linear layer in front of it:

    y / s_y = acc * (g s_w s_x / s_y) + r * (g s_r / s_y) + (g bias + h) / s_y
              acc * ratio             + r * residual_ratio + bias

LayerNorm y = g z + h does not fold into the layer in front of it: the program normalises without g and h, and every layer that reads
y holds them, W (g z + h) = (W diag(g)) z + W h. So the codes are those of z, whose scale is a power of two.

Scales are learned (LSQ, arXiv 1902.08153) as logarithms, because Adam moves every parameter by about its learning
rate: a step is then a percentage of a scale of any size.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qtlib.config import QuantConfig
from qtlib.model import Encoder, merge_heads, split_heads
from qtlib.program import MULT_BITS, RECIPROCAL_BITS, SHIFT_STEP, choose_shift, code_range, norm_reciprocal_bits

MULT_TOP = code_range(MULT_BITS).high
SMALLEST_CHANNEL = 1 / 64  # of the layer's largest weight scale: the multiplier of a dead channel still has 11 bits
CLIPPING = torch.logspace(-1.5, 0, 40, dtype=torch.float64)  # fractions of the largest value tried by the calibration


class LinearPlan(NamedTuple):
    """Integers of a linear layer, held in float64, and the real numbers that they stand for."""

    weight: Tensor  # [out, in] codes
    ratio: Tensor  # [out] real; one accumulator step in codes of y
    bias: Tensor  # [out] real, in codes of y
    mult: Tensor  # [out]
    offset: Tensor  # [out]
    shift: int
    residual_ratio: Tensor | None = None  # [out] real
    residual_mult: Tensor | None = None  # [out]
    residual_shift: int = 0


class AttentionPlan(NamedTuple):
    """Integers of scores, softmax and context of one layer."""

    ratio: Tensor  # [] real; one accumulator step of the scores in their codes
    score_scale: Tensor  # [] real
    mult: int
    offset: int
    shift: int
    table: Tensor  # [2**bits] exponentials
    softmax_bits: int
    context_gain: int  # k: context codes are 2**k finer than those of v
    context_offset: int
    context_shift: int


class LayerNormPlan(NamedTuple):
    """Integers of one LayerNorm, without gain and bias."""

    reciprocal_bits: int  # e
    gain: int  # k: the scale of its codes is 2**-k
    offset: int
    shift: int


class HeadPlan(NamedTuple):
    """Integers of the head and the scale of its results."""

    weight: Tensor  # [out, in] codes
    scale: Tensor  # [out] real
    bias: Tensor  # [out] real value
    offset: Tensor  # [out]


def rounded(x: Tensor) -> Tensor:
    """Nearest integer, half up: the one rounding of the project."""
    return torch.floor(x + 0.5)


def linear_plan(
    weight: Tensor,
    ratio: Tensor,
    bias: Tensor,
    residual_ratio: Tensor | None = None,
    *,
    x_zero: int = 0,
    y_zero: int = 0,
) -> LinearPlan:
    """Choose the integers of a linear layer.

    Args:
        weight: [out, in] codes.
        ratio: [out] real size of one accumulator step in codes of y; may be negative.
        bias: [out] real, in codes of y.
        residual_ratio: [out] real size of one code of the residual in codes of y.
        x_zero: zero point of x, folded into the offset exactly as ``-x_zero * sum_i w[o, i] * mult[o]``.
        y_zero: zero point of y.

    Raises:
        OverflowError: a ratio is too large for a multiplier, or not finite.
    """
    with torch.no_grad():
        shift = choose_shift(ratio.abs().max().item())
        one = float(1 << shift)
        mult = rounded(ratio * one)
        offset = rounded(bias * one) + (y_zero + 0.5) * one
        if x_zero:
            offset -= x_zero * weight.double().sum(1) * mult
        residual_mult, residual_shift = None, 0
        if residual_ratio is not None:
            residual_shift = choose_residual_shift(residual_ratio.abs().max().item(), shift)
            residual_mult = rounded(residual_ratio * float(1 << (shift - residual_shift)))
    return LinearPlan(weight, ratio, bias, mult, offset, shift, residual_ratio, residual_mult, residual_shift)


def choose_residual_shift(largest: float, shift: int) -> int:
    """Smallest multiple of 4 by which a residual's multiplier must stay behind ``shift`` to fit.

    Raises:
        OverflowError: it does not fit even as an integer.
    """
    for behind in range(0, shift + 1, SHIFT_STEP):
        if largest * (1 << (shift - behind)) <= MULT_TOP:
            return behind
    raise OverflowError(f"quantise: the residual ratio {largest:g} is above the limit {MULT_TOP} of {MULT_BITS} bits")


def exponential_table(scale: float, bits: int, entries: int) -> Tensor:
    """Exponentials as unsigned codes, ``table[i] = round((2**bits - 1) exp(-i scale))``, half up; [entries]."""
    steps = torch.arange(entries, dtype=torch.float64)
    return rounded(((1 << bits) - 1) * torch.exp(-scale * steps))


def inside(gradient: Tensor, unclamped: Tensor, low: int, high: int) -> Tensor:
    """Gradient where an integer lies in [low, high], 0 where it saturates; several times faster than a Boolean mask."""
    return torch.ops.aten.hardtanh_backward(gradient, unclamped, low - 0.5, high + 0.5)


class QuantiseInput(torch.autograd.Function):
    """Codes of real values, as the host makes them; straight-through gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        scaled = x.double() / scale
        codes = rounded(scaled)
        ctx.save_for_backward(scaled, scale, codes)
        ctx.range = low, high
        return codes.clamp(low, high).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, scale, codes = ctx.saved_tensors
        inner = inside(gradient.double(), codes, *ctx.range) / scale
        return inner.float(), -(inner * scaled).sum(), None, None


class QuantiseWeight(torch.autograd.Function):
    """Codes of weights with a scale for each output channel; straight-through gradients."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, top: int) -> Tensor:
        scaled = weight.double() / scale[:, None]
        codes = rounded(scaled)
        ctx.save_for_backward(scaled, scale, codes)
        ctx.top = top
        return codes.clamp(-top, top).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, scale, codes = ctx.saved_tensors
        inner = inside(gradient.double(), codes, -ctx.top, ctx.top) / scale[:, None]
        return inner.float(), -(inner * scaled).sum(1), None


class LinearCodes(torch.autograd.Function):
    """Linear layer on codes; forward exactly `qtlib.integer.linear`, backward that of the real expression."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        ratio: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        residual_ratio: Tensor | None,
        plan: LinearPlan,
        x_zero: int,
        low: int,
        high: int,
    ) -> Tensor:
        unit = 2.0**-plan.shift  # scaling by a power of two is exact
        flat = x.flatten(0, 1)  # [B n, in]
        total = torch.addcmul(plan.offset * unit, (flat @ weight.T).double(), plan.mult * unit)  # [B n, out]
        total = total.view(*x.shape[:2], -1)
        if residual is not None:
            total.addcmul_(residual.double(), plan.residual_mult * (unit * (1 << plan.residual_shift)))
        unclamped = total.floor_().float()
        ctx.save_for_backward(x, weight, ratio, residual, residual_ratio, unclamped)
        ctx.x_zero, ctx.range = x_zero, (low, high)
        return unclamped.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, ratio, residual, residual_ratio, unclamped = ctx.saved_tensors
        gradient = inside(gradient, unclamped, *ctx.range)
        flat = gradient.flatten(0, 1)  # [B n, out]
        summed = flat.sum(0)
        outer = flat.T @ x.flatten(0, 1)  # [out, in]
        if ctx.x_zero:
            outer.sub_(summed[:, None], alpha=ctx.x_zero)
        single = ratio.float()
        d_x = (flat @ (weight * single[:, None])).view_as(x) if ctx.needs_input_grad[0] else None
        d_weight, d_ratio = outer * single[:, None], (outer * weight).sum(1).double()
        d_residual = d_residual_ratio = None
        if residual is not None:
            d_residual_ratio = (gradient * residual).sum((0, 1)).double()
            if ctx.needs_input_grad[4]:
                d_residual = gradient * residual_ratio.float()
        return d_x, d_weight, d_ratio, summed.double(), d_residual, d_residual_ratio, None, None, None, None


class AttentionCodes(torch.autograd.Function):
    """Scores, softmax and context on codes; forward exactly `qtlib.integer`, backward that of real attention."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        ratio: Tensor,
        score_scale: Tensor,
        plan: AttentionPlan,
        heads: int,
        bits: int,
        kept: dict[str, Tensor] | None,
    ) -> Tensor:
        low, high = code_range(bits)
        q, k, v = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)  # [B, H, n, d/H]
        unit = 2.0**-plan.shift
        acc = (q @ k.transpose(-1, -2)).double()  # [B, H, n, n]
        scores = acc.mul_(plan.mult * unit).add_(plan.offset * unit).floor_().float()
        clamped = scores.clamp(low, high)
        difference = (clamped.amax(-1, keepdim=True) - clamped).int()
        exponentials = plan.table.float().index_select(0, difference.flatten()).view_as(scores)
        sums = exponentials.sum(-1, keepdim=True)
        reciprocal = torch.floor(float(1 << (plan.softmax_bits + RECIPROCAL_BITS)) / sums.double())
        unit = 2.0**-plan.context_shift
        total = (exponentials @ v).double().mul_(reciprocal * unit).add_(plan.context_offset * unit)
        codes = total.floor_().float()
        ctx.save_for_backward(q, k, v, ratio, score_scale, scores, clamped, exponentials / sums, codes)
        ctx.gain, ctx.heads, ctx.range = float(1 << plan.context_gain), heads, (low, high)
        if kept is not None:
            kept |= {"scores": clamped, "exponentials": exponentials}
        return merge_heads(codes.clamp(low, high))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, ratio, score_scale, scores, clamped, p, codes = ctx.saved_tensors
        gradient = inside(split_heads(gradient, ctx.heads), codes, *ctx.range) * ctx.gain
        d_v = p.transpose(-1, -2) @ gradient
        d_p = gradient @ v.transpose(-1, -2)
        d_logit = torch.ops.aten._softmax_backward_data(d_p, p, -1, p.dtype)  # logit = score_scale * score
        d_scale = (d_logit * clamped).sum().double()
        d_acc = inside(d_logit, scores, *ctx.range) * (score_scale * ratio).float()
        d_q, d_k = d_acc @ k, d_acc.transpose(-1, -2) @ q
        d_ratio = (d_q * q).sum().double() / ratio
        return merge_heads(d_q), merge_heads(d_k), merge_heads(d_v), d_ratio, d_scale, None, None, None, None


class LayerNormCodes(torch.autograd.Function):
    """LayerNorm on codes, without gain and bias; forward exactly `qtlib.integer.layer_norm`, backward that of acc / root."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: LayerNormPlan, low: int, high: int) -> Tensor:
        features, unit = x.shape[-1], 2.0**-plan.shift
        total = x.sum(-1, keepdim=True)
        squares = (x * x).sum(-1, keepdim=True)  # below 2**24, as all sums here: exact
        variance = squares.double() * features - total.double() ** 2  # d**2 times it
        smallest = float((1 << plan.reciprocal_bits) - 1)
        root = variance.sqrt().floor_()
        limited = root.clamp_min(smallest)
        acc = (x * features - total).double()
        row = torch.floor(float(1 << (plan.reciprocal_bits + RECIPROCAL_BITS)) / limited)
        unclamped = (acc * (row * unit)).add_(plan.offset * unit).floor_().float()
        ctx.save_for_backward((acc / limited).float(), limited.float(), root >= smallest, unclamped)
        ctx.gain, ctx.range = 2.0**plan.gain, (low, high)
        return unclamped.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normalised, limited, moves, unclamped = ctx.saved_tensors
        gradient = inside(gradient, unclamped, *ctx.range) * ctx.gain
        centred = gradient * gradient.shape[-1] - gradient.sum(-1, keepdim=True)
        # The root follows its input, d root / d x = acc / root, unless its lower limit holds it.
        along = (gradient * normalised).sum(-1, keepdim=True) * moves
        return (centred - normalised * along) / limited, None, None, None


class Wire(NamedTuple):
    """A linear layer between two tensors of the program, with the residual and the norms that are fused into it."""

    y: str
    x: str
    linear: nn.Linear
    weight_bits: int
    residual: str | None = None
    norm: nn.BatchNorm1d | None = None
    x_norm: nn.LayerNorm | None = None  # whose gain and bias x is without
    residual_norm: nn.LayerNorm | None = None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [out, in] and bias [out], with gain and bias of the LayerNorms that wrote x and the residual."""
        weight, bias = self.linear.weight, self.linear.bias.double()
        if self.x_norm is not None:
            bias = bias + weight.double() @ self.x_norm.bias.double()
            weight = weight * self.x_norm.weight
        if self.residual_norm is not None:
            bias = bias + self.residual_norm.bias.double()
        return weight, bias


class QuantisedEncoder(nn.Module):
    """The encoder on codes, trainable.

    BatchNorm keeps the running statistics of the float training and trains gain and bias only: batch statistics would
    make the folded multipliers depend on the batch, and the device has no batch.

    Args:
        encoder: trained float model; copied.
        quant: widths of the codes.
        x: [B, n, m] scaled training windows; the scales are calibrated on them.
    """

    log_scale: Tensor
    context_gain: Tensor

    def __init__(self, encoder: Encoder, quant: QuantConfig, x: Tensor) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval()
        self.config, self.quant = encoder.config, quant
        self.bits = {"input": quant.input_bits, "embed": quant.residual}
        for i in range(self.config.layers):
            self.bits |= {f"{i}.{name}": quant.bits for name in ("q", "k", "v", "scores", "hidden")}
            if self.config.norm == "layer":
                self.bits |= {f"{i}.{name}_sum": quant.norm_bits for name in ("attention", "output")}
            else:
                self.bits |= {f"{i}.{name}": quant.residual for name in ("attention", "output")}
        self.position_scale = 1.0 / code_range(quant.input_bits).high  # sines reach 1

        real = self.encoder.trace(x)
        scale = [calibrate(real[name], bits, signed=self.zero_point(name) == 0) for name, bits in self.bits.items()]
        self.log_scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64).log().float())
        self.weight_log_scale = nn.ParameterDict(
            {
                _key(wire.y): nn.Parameter(calibrate_channels(wire.folded()[0], wire.weight_bits).log().float())
                for wire in self.wires()
            }
        )
        by_name = dict(zip(self.bits, scale))
        gains = [calibrate_gain(real[f"{i}.context"], by_name[f"{i}.v"], quant.bits) for i in range(self.config.layers)]
        self.register_buffer("context_gain", torch.tensor(gains))
        if self.config.norm == "layer":
            gains = [calibrate_gain(real[name], 1.0, quant.residual) for name in self._norm_names()]
            self.register_buffer("norm_gain", torch.tensor(gains))
        self._scale_gradients({name: real[name][0].numel() for name in self.bits})

    def _scale_gradients(self, sizes: dict[str, int]) -> None:
        """Divide the gradient of each scale by sqrt(elements * largest code) (LSQ, section 2.2)."""
        tops = torch.tensor([size * code_range(self.bits[name]).high for name, size in sizes.items()])
        self.log_scale.register_hook(lambda gradient: gradient * tops.rsqrt())
        for wire in self.wires():
            factor = (wire.linear.in_features * code_range(wire.weight_bits).high) ** -0.5
            self.weight_log_scale[_key(wire.y)].register_hook(lambda gradient, factor=factor: gradient * factor)

    def wires(self) -> list[Wire]:
        """Linear layers in the order of execution."""
        encoder, bits = self.encoder, self.quant.weights
        wires = [Wire("embed", "input", encoder.embed, bits, "position")]
        stream = "embed"
        if self.config.norm == "layer":
            last = None  # the norm behind the layer before
            for i, layer in enumerate(encoder.layers):
                first, context, attention = layer.norm1, f"{i}.context", f"{i}.attention"
                wires += [
                    Wire(f"{i}.{name}", stream, getattr(layer, name), bits, x_norm=last) for name in ("q", "k", "v")
                ]
                wires.append(Wire(f"{attention}_sum", context, layer.o, bits, stream, residual_norm=last))
                wires.append(Wire(f"{i}.hidden", attention, layer.ffn1, bits, x_norm=first))
                stream, last = f"{i}.output", layer.norm2
                wires.append(Wire(f"{stream}_sum", f"{i}.hidden", layer.ffn2, bits, attention, residual_norm=first))
            return [*wires, Wire("forecast", stream, encoder.head, self.quant.head_bits, x_norm=last)]
        for i, layer in enumerate(encoder.layers):
            wires += [Wire(f"{i}.{name}", stream, getattr(layer, name), bits) for name in ("q", "k", "v")]
            wires.append(Wire(f"{i}.attention", f"{i}.context", layer.o, bits, stream, layer.norm1))
            wires.append(Wire(f"{i}.hidden", f"{i}.attention", layer.ffn1, bits))
            stream = f"{i}.output"
            wires.append(Wire(stream, f"{i}.hidden", layer.ffn2, bits, f"{i}.attention", layer.norm2))
        return [*wires, Wire("forecast", stream, encoder.head, self.quant.head_bits)]

    def norms(self) -> dict[str, int]:
        """LayerNorms by the tensor that they write, with the power of two of its scale."""
        if self.config.norm != "layer":
            return {}
        return dict(zip(self._norm_names(), self.norm_gain.tolist()))

    def _norm_names(self) -> list[str]:
        return [f"{i}.{name}" for i in range(self.config.layers) for name in ("attention", "output")]

    def zero_point(self, name: str) -> int:
        """Zero point of a tensor: the lowest code for hidden features, so that saturation is the ReLU; else 0."""
        return code_range(self.quant.bits).low if name.endswith(".hidden") else 0

    def scales(self) -> dict[str, Tensor]:
        """Scale of each tensor of codes, float64, differentiable."""
        scales = dict(zip(self.bits, self.log_scale.double().exp().unbind()))
        scales["position"] = torch.tensor(self.position_scale, dtype=torch.float64)
        for i, gain in enumerate(self.context_gain.tolist()):
            scales[f"{i}.context"] = scales[f"{i}.v"] * 2.0**-gain
        for name, gain in self.norms().items():
            scales[name] = torch.tensor(2.0**-gain, dtype=torch.float64)
        return scales

    def plan(self) -> dict[str, LinearPlan | AttentionPlan | LayerNormPlan | HeadPlan]:
        """All integers of the program, by the tensor they produce; attention under ``{i}.context``.

        Raises:
            OverflowError: a ratio of scales does not fit a multiplier, or is not finite.
        """
        scales = self.scales()
        plans: dict[str, LinearPlan | AttentionPlan | LayerNormPlan | HeadPlan] = {}
        for wire in self.wires():
            channel = self.weight_log_scale[_key(wire.y)].double().exp()
            channel = torch.maximum(channel, channel.detach().max() * SMALLEST_CHANNEL)
            weight, bias = wire.folded()
            weight = QuantiseWeight.apply(weight, channel, code_range(wire.weight_bits).high)
            if wire.y == "forecast":
                scale = channel * (scales[wire.x] / self.config.window)
                plans[wire.y] = HeadPlan(weight, scale, bias, rounded(bias / scale).detach())
                continue
            per_code = 1.0 / scales[wire.y]
            if wire.norm is not None:
                gain = wire.norm.weight.double() * (wire.norm.running_var.double() + wire.norm.eps).rsqrt()
                bias = gain * (bias - wire.norm.running_mean.double()) + wire.norm.bias.double()
                per_code = gain * per_code
                bias = bias / scales[wire.y]
            else:
                bias = bias * per_code
            ratio = channel * (scales[wire.x] * per_code)
            residual = None if wire.residual is None else (scales[wire.residual] * per_code).expand_as(ratio)
            if wire.residual_norm is not None:
                residual = residual * wire.residual_norm.weight.double()
            zeros = {"x_zero": self.zero_point(wire.x), "y_zero": self.zero_point(wire.y)}
            plans[wire.y] = linear_plan(weight, ratio, bias, residual, **zeros)
        for i, gain in enumerate(self.context_gain.tolist()):
            plans[f"{i}.context"] = self._attention_plan(i, gain, scales)
        for name, gain in self.norms().items():
            e = norm_reciprocal_bits(self.config.d_model, self.quant.norm_bits)
            down = e + RECIPROCAL_BITS - gain
            plans[name] = LayerNormPlan(e, gain, 1 << (down - 1), down)
        return plans

    def _attention_plan(self, index: int, gain: int, scales: dict[str, Tensor]) -> AttentionPlan:
        score_scale = scales[f"{index}.scores"]
        ratio = scales[f"{index}.q"] * scales[f"{index}.k"] / (score_scale * math.sqrt(self.config.head_width))
        shift = choose_shift(ratio.item())
        mult = math.floor(ratio.item() * (1 << shift) + 0.5)
        bits = self.quant.softmax
        table = exponential_table(score_scale.item(), bits, 1 << self.quant.bits)
        down = bits + RECIPROCAL_BITS - gain
        return AttentionPlan(
            ratio, score_scale, mult, 1 << (shift - 1), shift, table, bits, gain, 1 << (down - 1), down
        )

    def forward(self, x: Tensor, kept: dict[str, Tensor] | None = None) -> Tensor:
        """Forecast scaled targets from scaled inputs as the device does, [B, n, m] -> [B, outputs].

        Every tensor of codes is put into ``kept`` under the program's names; the forecast as a wide integer.
        """
        scales, plans = self.scales(), self.plan()
        position = rounded(self.encoder.position.double() / self.position_scale).float()  # [n, d]
        codes = {"position": position[None]}
        codes["input"] = QuantiseInput.apply(x, scales["input"], *code_range(self.quant.input_bits))
        for wire in self.wires()[:-1]:
            if wire.x.endswith(".context"):
                i = wire.x.removesuffix("context")
                inner = None if kept is None else {}
                plan = plans[wire.x]
                codes[wire.x] = AttentionCodes.apply(
                    *(codes[f"{i}{name}"] for name in ("q", "k", "v")),
                    plan.ratio, plan.score_scale, plan, self.config.heads, self.quant.bits, inner,
                )  # fmt: skip
                codes |= {f"{i}{name}": tensor for name, tensor in (inner or {}).items()}
            plan, residual = plans[wire.y], None if wire.residual is None else codes[wire.residual]
            codes[wire.y] = LinearCodes.apply(
                codes[wire.x], plan.weight, plan.ratio, plan.bias, residual, plan.residual_ratio, plan,
                self.zero_point(wire.x), *code_range(self.bits[wire.y]),
            )  # fmt: skip
            if wire.y.endswith("_sum"):
                name = wire.y.removesuffix("_sum")
                codes[name] = LayerNormCodes.apply(codes[wire.y], plans[name], *code_range(self.quant.residual))
        pooled = codes[self.wires()[-1].x].double().sum(1)  # [B, d]
        head = plans["forecast"]
        acc = pooled @ head.weight.double().T  # [B, outputs]
        real, exact = acc * head.scale + head.bias, (acc + head.offset) * head.scale
        if kept is not None:
            kept |= codes | {"pooled": pooled, "forecast": acc + head.offset}
        return (real + (exact - real).detach()).float()

    @torch.no_grad()
    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor of a run as int64 codes, under the names of the integer program."""
        kept: dict[str, Tensor] = {}
        self(x, kept)
        return {name: codes.long() for name, codes in kept.items()}


def _key(name: str) -> str:
    return name.replace(".", "_")  # the names of parameters hold no dots


def calibrate(values: Tensor, bits: int, *, signed: bool = True) -> float:
    """Scale with the least mean squared error of rounding and saturation.

    Args:
        values: real values of a tensor over calibration windows.
        bits: width of its codes.
        signed: whether codes are symmetric about 0; else all of them stand for values from 0 up.
    """
    low, high = code_range(bits, signed)
    flat = values.detach().double().flatten()
    flat = flat[:: max(1, len(flat) // 20_000)]
    largest = flat.abs().max().item() or 1.0
    scales = largest * CLIPPING / high
    errors = [(((flat / s).add(0.5).floor().clamp(low, high) * s - flat) ** 2).mean().item() for s in scales]
    return scales[errors.index(min(errors))].item()


def calibrate_channels(weight: Tensor, bits: int) -> Tensor:
    """Scale of each output channel with the least squared error, [out] float64; weight: [out, in] real."""
    top = code_range(bits).high
    w = weight.detach().double()
    largest = w.abs().amax(1, keepdim=True).clamp_min(1e-8)
    scales = largest * CLIPPING / top  # [out, candidates]
    codes = rounded(w[:, :, None] / scales[:, None]).clamp(-top, top)
    errors = ((codes * scales[:, None] - w[:, :, None]) ** 2).sum(1)
    return scales.gather(1, errors.argmin(1, keepdim=True))[:, 0]


def calibrate_gain(context: Tensor, scale: float, bits: int) -> int:
    """Largest power of two by which context codes should be finer than codes of v: a mean is smaller than its terms."""
    low, high = code_range(bits)
    flat = context.detach().double().flatten()

    def error(gain: int) -> float:
        step = scale * 2.0**-gain
        return ((rounded(flat / step).clamp(low, high) * step - flat) ** 2).mean().item()

    return min(range(7), key=error)
