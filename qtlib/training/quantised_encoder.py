"""Quantisation-aware training: the forward pass computes on the integers of the deployed program, nothing else.

`QuantisedEncoder.plan` is the one source of every integer (weight codes, ``mult``, ``offset``, ``shift``, tables); the
forward pass and `qtlib.training.lowering` both read it. In evaluation mode requantisation runs in float64, exact below 2**53, so
evaluation and `qtlib.program.reference` cannot differ; a training step is that of `qtlib.training.straight_through`. With values x = s_x c_x:

    y / s_y = acc * (s_w s_x / s_y) + r * (gain s_r / s_y) + bias / s_y
              acc * ratio           + r * residual_ratio   + offset

Scales are learned (LSQ, arXiv 1902.08153) as logarithms, because Adam moves every parameter by about its learning
rate: a step is then a percentage of a scale of any size. The vectors of all channels of all layers lie behind each other, so
that a step works on a few long vectors and not on many short ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qtlib.config import Experiment, ModelConfig, QuantConfig
from qtlib.data.windows import Prepared
from qtlib.program.codes import code_range
from qtlib.program.rounding import RECIPROCAL_BITS, choose_shift, norm_reciprocal_bits
from qtlib.training.bit_widths import widths
from qtlib.training.calibration import calibrate, calibrate_channels, calibrate_gain, largest_scale
from qtlib.training.encoder import Encoder, merge_heads, sinusoidal_position, split_heads
from qtlib.training.integer_plan import (
    AttentionPlan,
    Channels,
    HeadPlan,
    IntegerPlan,
    LayerNormPlan,
    LinearPlan,
    choose_residual_shift,
    named,
)
from qtlib.training.norm_folding import Folded, fold
from qtlib.training.softmax_table import exponential_table
from qtlib.training.straight_through import (
    AttentionCodes,
    Exactly,
    LayerNormCodes,
    LinearCodes,
    QuantiseInput,
    ScaledWeight,
    normalise,
    rounded,
)

SMALLEST_CHANNEL = 1 / 64  # of the layer's largest weight scale: the multiplier of a dead channel still has 11 bits
MOMENTUM = 0.05  # of the observed largest values, min-max scheme only


class Wire(NamedTuple):
    """A linear layer between two tensors of the program, with the residual and the norm that are fused into it."""

    y: str
    x: str
    weight_bits: int
    residual: str | None
    block: int  # which matrix of `QuantisedEncoder.weight`
    rows: slice  # of that matrix
    channels: slice  # of the vectors of all channels
    residuals: slice | None  # of the vectors of all channels with a residual


class QuantisedEncoder(nn.Module):
    """The encoder on codes, trainable.

    BatchNorm, where the model has it, keeps the running statistics of the float training: batch statistics would make the folded multipliers
    depend on the batch, and the device has no batch.

    Args:
        start: trained float model, or a wider quantised one; only read.
        quant: widths of the codes and the scheme of their scales.
        x: [B, n, m] scaled training windows; the scales are calibrated on them.

    Raises:
        ValueError: an override names a tensor that the model does not have.
    """

    config: ModelConfig
    quant: QuantConfig
    position: Tensor
    context_gain: Tensor
    norm_gain: Tensor
    _x_of: Tensor
    _y_of: Tensor
    _r_of: Tensor
    _channel_of: Tensor
    _v_of: Tensor
    _fixed: Tensor
    _top: Tensor

    def __init__(self, start: Encoder | QuantisedEncoder, quant: QuantConfig, x: Tensor) -> None:
        super().__init__()
        start = start.eval()
        self.config, self.quant = start.config, quant
        self.bits, self.weight_bits = widths(start.config, quant)
        self.position_scale = 1.0 / code_range(quant.input_bits).high  # sines reach 1
        codes = rounded(
            sinusoidal_position(self.config.window, self.config.d_model).double() / self.position_scale
        ).float()
        self.register_buffer("position", codes, persistent=False)  # [n, d]
        self._lay_out(list(fold(start) if isinstance(start, Encoder) else start.layers()))
        self._calibrate(start.trace(x) if isinstance(start, Encoder) else start.values(x))

    def _lay_out(self, layers: list[Folded]) -> None:
        """Put layers of the same input width into one matrix, and the channels of all layers behind each other."""
        ordered = sorted(layers, key=lambda layer: layer.weight.shape[1])  # stable: q, k and v stay side by side
        inputs = sorted({layer.weight.shape[1] for layer in layers})
        wires: dict[str, Wire] = {}
        rows, channels, residuals = [0] * len(inputs), 0, 0
        for layer in ordered:
            block, out = inputs.index(layer.weight.shape[1]), len(layer.bias)
            of_residual = slice(residuals, residuals + out) if layer.residual else None
            wires[layer.y] = Wire(
                y=layer.y,
                x=layer.x,
                weight_bits=self.weight_bits[layer.y],
                residual=layer.residual,
                block=block,
                rows=slice(rows[block], rows[block] + out),
                channels=slice(channels, channels + out),
                residuals=of_residual,
            )
            rows[block], channels = rows[block] + out, channels + out
            residuals += out if layer.residual else 0
        self.wires = [wires[layer.y] for layer in layers]  # in the order of execution
        self._ordered = [wires[layer.y] for layer in ordered]  # in the order of the channels
        self.weight = nn.ParameterList(
            torch.cat([layer.weight for layer in ordered if layer.weight.shape[1] == width]) for width in inputs
        )
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in ordered]))
        self.residual_gain = nn.Parameter(torch.cat([layer.gain for layer in ordered if layer.gain is not None]))

        names = [*self._derived(), "forecast"]
        place = {name: index for index, name in enumerate(names)}
        with_residual = [w for w in self._ordered if w.residual]

        def buffer(name: str, values: Any) -> None:
            self.register_buffer(name, values, persistent=False)

        buffer("_x_of", torch.tensor([place[w.x] for w in self._ordered for _ in range(*_ends(w.channels))]))
        buffer("_y_of", torch.tensor([place[w.y] for w in self._ordered for _ in range(*_ends(w.channels))]))
        residual_places = [place[w.residual] for w in self._ordered if w.residual for _ in range(*_ends(w.channels))]
        buffer("_r_of", torch.tensor(residual_places))
        buffer("_channel_of", torch.cat([torch.arange(*_ends(w.channels)) for w in with_residual]))
        buffer("_v_of", torch.tensor([place[f"{i}.v"] for i in range(self.config.layers)]))
        buffer("_fixed", torch.tensor([self.position_scale, float(self.config.window)], dtype=torch.float64))
        tops = [float(code_range(w.weight_bits).high) for w in self._ordered for _ in range(*_ends(w.channels))]
        buffer("_top", torch.tensor(tops))
        self._starts = [w.channels.start for w in self._ordered]
        self._sizes = [w.channels.stop - w.channels.start for w in self._ordered]
        stretches = [w.residuals for w in self._ordered if w.residuals is not None]
        self._residual_starts = [stretch.start for stretch in stretches]
        self._residual_sizes = [stretch.stop - stretch.start for stretch in stretches]
        self._residual_names = [w.y for w in with_residual]
        self._groups = list(self._side_by_side())
        placed = sorted([*self._groups, self.wires[-1:]], key=lambda group: group[0].channels.start)
        self._group_names = [group[0].y for group in placed]
        self._group_rows = [
            [group[-1].rows.stop - group[0].rows.start for group in placed if group[0].block == block]
            for block in range(len(inputs))
        ]

    def _side_by_side(self) -> Iterator[list[Wire]]:
        """Layers that one matrix product can compute in training: q, k and v, where their codes have one width."""
        waiting = list(self.wires[:-1])
        while waiting:
            group = [waiting.pop(0)]
            while (
                waiting
                and waiting[0].x == group[0].x
                and not (waiting[0].residual or group[0].residual)
                and self.code_range(waiting[0].y) == self.code_range(group[0].y)
            ):
                group.append(waiting.pop(0))
            yield group

    def _learned(self) -> list[str]:
        """Tensors with a scale of their own."""
        norms = self._norms()
        return [name for name in self.bits if not name.endswith(".context") and name not in norms]

    def _norms(self) -> list[str]:
        """Tensors that a LayerNorm writes."""
        return [name.removesuffix("_sum") for name in self.bits if name.endswith("_sum")]

    def _derived(self) -> list[str]:
        """All tensors with a scale, in the order of `_scale_vector`."""
        return [*self._learned(), *(f"{i}.context" for i in range(self.config.layers)), *self._norms(), "position"]

    def _calibrate(self, real: dict[str, Tensor]) -> None:
        """Scales from real tensors of the float model."""
        names, learned = self._learned(), self.quant.scheme == "learned"
        choose = calibrate if learned else largest_scale
        scale = {name: choose(real[name], self.bits[name], signed=self.zero_point(name) == 0) for name in names}
        gains = [
            calibrate_gain(real[f"{i}.context"], scale[f"{i}.v"], self.bits[f"{i}.context"]) if learned else 0
            for i in range(self.config.layers)
        ]
        self.register_buffer("context_gain", torch.tensor(gains))
        gains = [calibrate_gain(real[name], 1.0, self.bits[name]) for name in self._norms()]
        self.register_buffer("norm_gain", torch.tensor(gains, dtype=torch.long))
        values = torch.tensor(list(scale.values()), dtype=torch.float64).log().float()
        self.log_scale = nn.Parameter(values, requires_grad=learned)
        if not learned:
            return
        channels = [calibrate_channels(self.weight[w.block][w.rows], w.weight_bits) for w in self._ordered]
        self.weight_log_scale = nn.Parameter(torch.cat(channels).log().float())
        # The gradient of a scale is divided by sqrt(elements * largest code) (LSQ, section 2.2).
        elements = torch.tensor([real[name][0].numel() * code_range(self.bits[name]).high for name in names])
        self.log_scale.register_hook(lambda gradient: gradient * elements.rsqrt().to(gradient))
        fan_in = torch.cat([
            torch.full((size,), self.weight[w.block].shape[1]) for w, size in zip(self._ordered, self._sizes, strict=True)
        ])  # fmt: skip
        factor = (fan_in * self._top).rsqrt()
        self.weight_log_scale.register_hook(lambda gradient: gradient * factor.to(gradient))

    def zero_point(self, name: str) -> int:
        """Zero point of a tensor: the lowest code for hidden features, so that saturation is the ReLU; else 0."""
        return code_range(self.bits[name]).low if name.endswith(".hidden") else 0

    def code_range(self, name: str) -> tuple[int, int]:
        """Smallest and largest code of a tensor less its zero point."""
        low, high = code_range(self.bits[name])
        return low - self.zero_point(name), high - self.zero_point(name)

    def _scale_vector(self) -> Tensor:
        """Scales of all tensors, float64, differentiable: learned, contexts, norms, position; n for the mean in the head."""
        learned = self.log_scale.double().exp()
        context = learned.index_select(0, self._v_of) * torch.exp2(-self.context_gain.double())
        return torch.cat([learned, context, torch.exp2(-self.norm_gain.double()), self._fixed])

    def scales(self) -> dict[str, float]:
        """Scale of each tensor of codes."""
        return dict(zip(self._derived(), self._scale_vector().tolist()[:-1], strict=True))

    def _weight_scales(self) -> Tensor:
        """Scale of each channel's weights, [C] float64."""
        if self.quant.scheme == "minmax":  # one scale for each layer, that of its largest weight
            rows = torch.cat([block.detach().abs().amax(1) for block in self.weight]).double()
            return self._spread(_largest(rows, self._starts), self._sizes).clamp_min(1e-8) / self._top
        scale = self.weight_log_scale.double().exp()
        return torch.maximum(scale, self._spread(_largest(scale, self._starts) * SMALLEST_CHANNEL, self._sizes))

    def _spread(self, values: np.ndarray, sizes: list[int]) -> Tensor:
        return torch.from_numpy(np.repeat(np.asarray(values, np.float64), sizes)).to(self.bias.device)

    def channels(self) -> Channels:
        """Integers of all layers, as what training multiplies and adds.

        Raises:
            OverflowError: a ratio of scales does not fit a multiplier, or is not finite.
        """
        scale, weight_scale = self._scale_vector(), self._weight_scales()
        per_code = scale.reciprocal().index_select(0, self._y_of)
        ratio = weight_scale * (scale.index_select(0, self._x_of) * per_code)
        bias = self.bias.double() * per_code
        per_residual = scale.index_select(0, self._r_of) * per_code.index_select(0, self._channel_of)
        residual = self.residual_gain.double() * per_residual
        with torch.no_grad():
            head = self.wires[-1].channels
            shift = [
                0 if w.y == "forecast" else named(w.y, choose_shift, largest)
                for w, largest in zip(self._ordered, _largest(ratio.abs(), self._starts), strict=True)
            ]
            with_residual = [(w, s) for w, s in zip(self._ordered, shift, strict=True) if w.residual]
            largest = _largest(residual.abs(), self._residual_starts)
            behind = [
                named(w.y, choose_residual_shift, top, s) for top, (w, s) in zip(largest, with_residual, strict=True)
            ]
            one = self._spread(np.exp2(shift), self._sizes)
            lifted = self._spread(
                np.exp2([s - b for b, (_, s) in zip(behind, with_residual, strict=True)]), self._residual_sizes
            )
            exact_ratio, exact_bias = rounded(ratio * one) / one, rounded(bias * one) / one
            exact_ratio[head], exact_bias[head] = ratio[head], self.bias[head].double()
            exact_residual = rounded(residual * lifted) / lifted
        ratio = Exactly.apply(ratio, exact_ratio)
        rows = [len(block) for block in self.weight]
        parts = zip(
            self.weight, weight_scale.split(rows), ratio.split(rows), self._top[:, None].split(rows), strict=True
        )
        weights = [ScaledWeight.apply(*part) for part in parts]
        return Channels(
            weight=[scaled for scaled, _ in weights],
            codes=[codes for _, codes in weights],
            ratio=ratio,
            bias=Exactly.apply(bias, exact_bias),
            residual_ratio=Exactly.apply(residual, exact_residual),
            shift={w.y: s for w, s in zip(self._ordered, shift, strict=True)},
            residual_shift={w.y: b for b, (w, _) in zip(behind, with_residual, strict=True)},
        )

    def _attention(self, index: int, scale: Tensor) -> AttentionPlan:
        names = self._learned()
        q, k, scores = (scale[names.index(f"{index}.{name}")] for name in ("q", "k", "scores"))
        ratio = q * k / (scores * math.sqrt(self.config.head_width))
        shift = named(f"{index}.scores", choose_shift, ratio.item())
        bits, gain = self.quant.softmax, int(self.context_gain[index])
        down = bits + RECIPROCAL_BITS - gain
        return AttentionPlan(
            ratio=ratio,
            score_scale=scores,
            mult=math.floor(ratio.item() * (1 << shift) + 0.5),
            offset=1 << (shift - 1),
            shift=shift,
            table=exponential_table(scores.item(), bits, 1 << self.bits[f"{index}.scores"]),
            softmax_bits=bits,
            context_gain=gain,
            context_offset=1 << (down - 1),
            context_shift=down,
        )

    @torch.no_grad()
    def plan(self) -> IntegerPlan:
        """All integers of the program, by the tensor they produce; attention under ``{i}.context``.

        Raises:
            OverflowError: a ratio of scales does not fit a multiplier, or is not finite.
        """
        found = self.channels()
        linear = {}
        *body, last = self.wires
        for w in body:
            weight, ratio, bias = found.codes[w.block][w.rows], found.ratio[w.channels], found.bias[w.channels]
            one = 2.0 ** found.shift[w.y]
            mult = ratio * one
            offset = (
                bias * one + (self.zero_point(w.y) + 0.5) * one - self.zero_point(w.x) * weight.double().sum(1) * mult
            )
            linear[w.y] = LinearPlan(weight, mult, offset, found.shift[w.y])
            if w.residual:
                behind = found.residual_shift[w.y]
                residual_mult = found.residual_ratio[w.residuals] * 2.0 ** (found.shift[w.y] - behind)
                linear[w.y] = linear[w.y]._replace(residual_mult=residual_mult, residual_shift=behind)
        ratio = found.ratio[last.channels]
        head = HeadPlan(found.codes[last.block][last.rows], ratio, rounded(found.bias[last.channels] / ratio))
        scale = self._scale_vector()
        attention = {f"{i}.context": self._attention(i, scale) for i in range(self.config.layers)}
        return IntegerPlan(linear, attention, self._layer_norms(), head)

    def _layer_norms(self) -> dict[str, LayerNormPlan]:
        plans = {}
        for name, gain in zip(self._norms(), self.norm_gain.tolist(), strict=True):
            e = norm_reciprocal_bits(self.config.d_model, self.bits[f"{name}_sum"])
            down = e + RECIPROCAL_BITS - gain
            plans[name] = LayerNormPlan(e, gain, 1 << (down - 1), down)
        return plans

    def forward(self, x: Tensor) -> Tensor:
        """Forecast scaled targets from scaled inputs as the device does, [B, n, m] -> [B, outputs]."""
        if not self.training:
            return self._evaluate(x)["forecast real"].float()
        scale, found = self._scale_vector(), self.channels()
        names = self._learned()
        weight, bias, residual_ratio = self._of_groups(found)
        codes = {"position": self.position[None]}
        codes["input"] = QuantiseInput.apply(x, scale[names.index("input")], *self.code_range("input"))
        unclamped, norms = {}, self._layer_norms()
        for group in self._groups:
            first = group[0]
            if first.x.endswith(".context"):
                i = first.x.removesuffix("context")
                plan = self._attention(int(i[:-1]), scale)
                codes[first.x], unclamped[f"{i}scores"] = AttentionCodes.apply(
                    codes[f"{i}q"], codes[f"{i}k"], codes[f"{i}v"], plan.ratio, plan.score_scale, plan,
                    self.config.heads, self.code_range(f"{i}scores"), self.code_range(first.x),
                )  # fmt: skip
            y, free = LinearCodes.apply(
                codes[first.x], weight[first.y], bias[first.y],
                codes[first.residual] if first.residual else None, residual_ratio.get(first.y),
                *self.code_range(first.y),
            )  # fmt: skip
            if len(group) == 1:  # a split would copy the gradient
                codes[first.y], unclamped[first.y] = y, free
            else:
                sizes = [w.rows.stop - w.rows.start for w in group]
                codes |= zip([w.y for w in group], y.split(sizes, -1), strict=True)
                unclamped |= zip([w.y for w in group], free.split(sizes, -1), strict=True)
            if first.y.endswith("_sum"):
                normed = first.y.removesuffix("_sum")
                codes[normed] = LayerNormCodes.apply(y, norms[normed], *self.code_range(normed))
        if self.quant.scheme == "minmax":
            self._observe({"input": x / scale[names.index("input")]} | unclamped)
        head = self.wires[-1]
        return torch.addmm(bias[head.y], codes[head.x].sum(1), weight[head.y].T)

    def _of_groups(self, found: Channels) -> tuple[dict[str, Tensor], ...]:
        """Weights, biases and residual ratios in float32, by the first result of a group.

        Split all at once: the gradient of a split is one copy, that of each slice a whole vector of zeros and a sum.
        """
        weights = itertools.chain(*map(Tensor.split, found.weight, self._group_rows))
        biases = found.bias.float().split(list(itertools.chain(*self._group_rows)))
        ratios = found.residual_ratio.float().split(self._residual_sizes)
        return (
            dict(zip(self._group_names, weights, strict=True)),
            dict(zip(self._group_names, biases, strict=True)),
            dict(zip(self._residual_names, ratios, strict=True)),
        )

    @torch.no_grad()
    def _observe(self, unclamped: dict[str, Tensor]) -> None:
        """Let each scale follow the largest value of its tensor."""
        for index, name in enumerate(self._learned()):
            largest = unclamped[name].abs().max().clamp_min(1e-3) / self.code_range(name)[1]
            self.log_scale[index] += torch.log1p(MOMENTUM * (largest - 1))

    @torch.no_grad()
    def _evaluate(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor of codes under the program's names, exactly; the forecast also in real values."""
        plans = self.plan()
        codes = {"position": self.position[None].double()}
        codes["input"] = QuantiseInput.apply(x, self._scale_vector()[0], *self.code_range("input")).double()
        for w in self.wires[:-1]:
            if w.x.endswith(".context"):
                codes |= self._evaluate_attention(w.x.removesuffix("context"), plans.attention[w.x], codes)
            plan = plans.linear[w.y]
            total = (codes[w.x] @ plan.weight.double().T) * plan.mult + plan.offset
            if w.residual and plan.residual_mult is not None:
                total += codes[w.residual] * (plan.residual_mult * 2.0**plan.residual_shift)
            codes[w.y] = (total * 2.0**-plan.shift).floor().clamp(*code_range(self.bits[w.y]))
            if w.y.endswith("_sum"):
                normed = w.y.removesuffix("_sum")
                codes[normed] = normalise(codes[w.y], plans.norms[normed])[0].clamp(*self.code_range(normed))
        pooled, head = codes[self.wires[-1].x].sum(1), plans.head  # [B, d]
        forecast = pooled @ head.weight.double().T + head.offset  # [B, outputs]
        return codes | {"pooled": pooled, "forecast": forecast, "forecast real": forecast * head.scale}

    def _evaluate_attention(self, i: str, plan: AttentionPlan, codes: dict[str, Tensor]) -> dict[str, Tensor]:
        q, k, v = (split_heads(codes[f"{i}{name}"], self.config.heads) for name in ("q", "k", "v"))
        total = (q @ k.transpose(-1, -2)) * plan.mult + plan.offset
        scores = (total * 2.0**-plan.shift).floor().clamp(*code_range(self.bits[f"{i}scores"]))
        exponentials = plan.table.to(scores)[(scores.amax(-1, keepdim=True) - scores).long()]
        reciprocal = (2.0 ** (plan.softmax_bits + RECIPROCAL_BITS) / exponentials.sum(-1, keepdim=True)).floor()
        total = (exponentials @ v) * reciprocal + plan.context_offset
        context = (total * 2.0**-plan.context_shift).floor().clamp(*code_range(self.bits[f"{i}context"]))
        return {f"{i}scores": scores, f"{i}exponentials": exponentials, f"{i}context": merge_heads(context)}

    def layers(self) -> Iterator[Folded]:
        """Its linear layers in the order of execution, as a narrower model starts from them."""
        for w in self.wires:
            gain = None if w.residuals is None else self.residual_gain.detach()[w.residuals]
            yield Folded(
                w.y, w.x, self.weight[w.block].detach()[w.rows], self.bias.detach()[w.channels], w.residual, gain
            )

    @torch.no_grad()
    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Values of every tensor of codes for scaled windows [B, n, m], float64; the input as it was before rounding."""
        scales, codes = self.scales(), self.trace(x)
        values = {name: (codes[name] - self.zero_point(name)).double() * scales[name] for name in self.bits}
        return values | {"input": x.double()}

    @torch.no_grad()
    def dead_channels(self) -> int:
        """Output channels whose weights are all 0: they add their bias and nothing else."""
        return sum(int((codes == 0).all(1).sum()) for codes in self.channels().codes)

    @torch.no_grad()
    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor of a run as int64 codes, under the names of the integer program."""
        found = self._evaluate(x)
        del found["forecast real"]
        return {name: codes.long() for name, codes in found.items()}


def _ends(place: slice) -> tuple[int, int]:
    return place.start, place.stop


def _largest(values: Tensor, starts: list[int]) -> np.ndarray:
    """Largest value of each stretch of a vector."""
    return np.maximum.reduceat(values.detach().cpu().numpy(), starts)


CALIBRATION = 256  # train windows, evenly spaced, that the scales are calibrated on


def calibrated(experiment: Experiment, start: Encoder | QuantisedEncoder, prepared: Prepared) -> QuantisedEncoder:
    """Where quantised training starts: the weights of its start, rounded, with scales calibrated on train windows.

    Raises:
        ValueError: the experiment is of the float model.
    """
    if experiment.quant is None:
        raise ValueError("train: the experiment is of the float model, which has no scales to calibrate")
    windows = prepared.train.x[:: max(1, len(prepared.train.x) // CALIBRATION)]
    return QuantisedEncoder(start, experiment.quant, torch.from_numpy(windows))
