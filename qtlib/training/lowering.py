"""Lowering: the quantised model's integers, written down as a `Program`.

Nothing is computed here but the shapes and the order; `QuantisedEncoder.plan` has chosen every integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qtlib.config import ModelConfig, QuantConfig
from qtlib.program.codes import Range, Tensor, code_range
from qtlib.program.operations import Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.program import RESULT_BITS, Program
from qtlib.training.encoder import Encoder
from qtlib.training.integer_plan import AttentionPlan, HeadPlan, LayerNormPlan, LinearPlan
from qtlib.training.quantised_encoder import QuantisedEncoder, Wire


def example(config: ModelConfig, quant: QuantConfig) -> Program:
    """A program with seeded random weights: clocks and resources depend on shape and widths, hardly on what was learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = Encoder(config)
        x = torch.randn(32, config.window, config.features)
    return lower(QuantisedEncoder(encoder, quant, x), {"label": "random weights"})


def lower(model: QuantisedEncoder, metadata: dict[str, Any] | None = None) -> Program:
    """Write the model's integers down as a program.

    Args:
        model: trained or only calibrated.
        metadata: what a host needs besides: run, data set, unit, scalers.

    Raises:
        OverflowError: an accumulator or a multiplier does not fit the engine; the text says by how much.
    """
    with torch.no_grad():
        plans = model.plan()
        position = _codes(model.position)
        tensors = _tensors(model, plans.head)
    operations: list[Operation] = []
    *body, last = model.wires
    for wire in body:
        index = wire.y.partition(".")[0]
        if wire.y.endswith(".v"):  # softmax needs no v: the scores go first
            operations += _scores(index, plans.attention[f"{index}.context"], model.config.heads)
        operations.append(_linear(wire, plans.linear[wire.y]))
        if wire.y.endswith(".v"):
            operations.append(_context(index, plans.attention[f"{index}.context"], model.config.heads))
        if wire.y.endswith("_sum"):
            operations.append(_layer_norm(wire.y, plans.norms[wire.y.removesuffix("_sum")]))
    operations += [Pool(x=last.x, y="pooled"), _head(last, plans.head)]
    return Program(
        tensors={tensor.name: tensor for tensor in tensors},
        operations=tuple(operations),
        constants={"position": position},
        metadata=dict(metadata or {}),
    )


def _codes(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.int64)


def _linear(wire: Wire, plan: LinearPlan) -> Linear:
    return Linear(
        x=wire.x,
        y=wire.y,
        weight=_codes(plan.weight),
        weight_bits=wire.weight_bits,
        mult=_codes(plan.mult),
        offset=_codes(plan.offset),
        shift=plan.shift,
        residual=wire.residual,
        residual_mult=None if plan.residual_mult is None else _codes(plan.residual_mult),
        residual_shift=plan.residual_shift,
    )


def _head(wire: Wire, plan: HeadPlan) -> Head:
    return Head(
        x="pooled",
        y=wire.y,
        weight=_codes(plan.weight),
        weight_bits=wire.weight_bits,
        offset=_codes(plan.offset),
    )


def _scores(index: str, plan: AttentionPlan, heads: int) -> list[Operation]:
    scores, exponentials = f"{index}.scores", f"{index}.exponentials"
    return [
        Scores(
            x=f"{index}.q",
            other=f"{index}.k",
            y=scores,
            heads=heads,
            mult=plan.mult,
            offset=plan.offset,
            shift=plan.shift,
        ),
        Softmax(x=scores, y=exponentials, table=_codes(plan.table)),
    ]


def _context(index: str, plan: AttentionPlan, heads: int) -> Context:
    return Context(
        x=f"{index}.exponentials",
        other=f"{index}.v",
        y=f"{index}.context",
        heads=heads,
        offset=plan.context_offset,
        shift=plan.context_shift,
    )


def _layer_norm(x: str, plan: LayerNormPlan) -> LayerNorm:
    return LayerNorm(
        x=x, y=x.removesuffix("_sum"), reciprocal_bits=plan.reciprocal_bits, offset=plan.offset, shift=plan.shift
    )


def _tensors(model: QuantisedEncoder, head: HeadPlan) -> list[Tensor]:
    """All tensors with their shapes, widths and scales."""
    config, quant = model.config, model.quant
    n, d = config.window, config.d_model
    scales = model.scales()

    def codes(name: str, *shape: int) -> Tensor:
        bits = quant.input_bits if name == "position" else model.bits[name]
        return Tensor(name=name, shape=shape, bits=bits, scale=(scales[name],), zero_point=model.zero_point(name))

    tensors = [codes("input", n, config.features), codes("position", n, d), codes("embed", n, d)]
    for i in range(config.layers):
        attention = (config.heads, n, n)
        one = 1.0 / code_range(quant.softmax, signed=False).high  # the largest exponential stands for 1
        exponentials = Tensor(name=f"{i}.exponentials", shape=attention, bits=quant.softmax, scale=(one,), signed=False)
        tensors += [codes(f"{i}.q", n, d), codes(f"{i}.k", n, d), codes(f"{i}.scores", *attention), exponentials]
        tensors += [codes(f"{i}.{name}", n, d) for name in ("v", "context")]
        for name, width in (("attention", d), ("hidden", config.ffn_width), ("output", d)):
            if f"{i}.{name}_sum" in model.bits:
                tensors.append(codes(f"{i}.{name}_sum", n, width))
            tensors.append(codes(f"{i}.{name}", n, width))
    last = tensors[-1]
    summed = Range(n * last.range.low, n * last.range.high)
    tensors.append(Tensor(name="pooled", shape=(d,), bits=summed.bits, scale=(last.scale[0] / n,)))
    results = tuple(head.scale.tolist())
    return [*tensors, Tensor(name="forecast", shape=(config.outputs,), bits=RESULT_BITS, scale=results)]
