"""The float encoder (arXiv 2407.11041, section 3): what quantisation starts from and is compared with.

    input [B, n, m] -> embed + position -> layers x (attention, feed-forward) -> mean over tokens -> head [B, outputs]

Each block ends in ``norm(residual + block)``: BatchNorm, which folds into the linear layer in front of it, or LayerNorm, which
does not and whose gain and bias fold into its readers instead. The names of the tensors are those of the integer program, so
the two can be compared one by one; behind a LayerNorm the named tensor is the one without gain and bias.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qtlib.config import ModelConfig


def sinusoidal_position(tokens: int, features: int) -> Tensor:
    """Fixed position table [tokens, features], sine in even and cosine in odd features (arXiv 1706.03762, section 3.5)."""
    even = torch.arange(0, features, 2, dtype=torch.float64)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * torch.exp(-math.log(10_000.0) * even / features)
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(tokens, -1)  # [n, d] or, for odd d, [n, d + 1]
    return table[:, :features].float().contiguous()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, n, d] -> [B, H, n, d/H]."""
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, heads, features // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, n, d/H] -> [B, n, d]."""
    batch, heads, tokens, width = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * width)


class Layer(nn.Module):
    """One encoder layer: attention and feed-forward, each followed by residual sum and norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.d_model, config.ffn_width
        self.heads = config.heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ffn1, self.ffn2 = nn.Linear(d, hidden), nn.Linear(hidden, d)
        norm = nn.LayerNorm if config.norm == "layer" else nn.BatchNorm1d
        self.norm1, self.norm2 = norm(d), norm(d)

    def forward(self, x: Tensor, prefix: str = "", kept: dict[str, Tensor] | None = None) -> Tensor:
        """x: [B, n, d] -> [B, n, d]; every tensor on the way is put into ``kept`` under the program's names."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        scores = split_heads(q, self.heads) @ split_heads(k, self.heads).transpose(-1, -2)  # [B, H, n, n]
        scores = scores / math.sqrt(q.shape[-1] // self.heads)
        context = merge_heads(scores.softmax(-1) @ split_heads(v, self.heads))
        attention_sum = x + self.o(context)
        attention = _norm(self.norm1, attention_sum)
        hidden = self.ffn1(attention).relu()
        output_sum = attention + self.ffn2(hidden)
        output = _norm(self.norm2, output_sum)
        if kept is not None:
            exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
            tensors = {"q": q, "k": k, "v": v, "scores": scores, "exponentials": exponentials, "context": context}
            tensors |= {"attention": attention, "hidden": hidden, "output": output}
            if isinstance(self.norm1, nn.LayerNorm):
                sums = {"attention": attention_sum, "output": output_sum}
                tensors |= {name: functional.layer_norm(x, x.shape[-1:]) for name, x in sums.items()}
                tensors |= {f"{name}_sum": x for name, x in sums.items()}
            kept |= {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
        return output


def _norm(norm: nn.BatchNorm1d | nn.LayerNorm, x: Tensor) -> Tensor:
    # BatchNorm: statistics over batch and tokens, for each feature; LayerNorm: over features, for each token.
    normed: Tensor = norm(x.flatten(0, 1))
    return normed.view_as(x)


class Encoder(nn.Module):
    """Encoder-only Transformer with ``12 d^2 + (15 + m) d + 1`` parameters in the published shape."""

    position: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.features, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.d_model, config.outputs)
        self.register_buffer("position", sinusoidal_position(config.window, config.d_model), persistent=False)

    def forward(self, x: Tensor, kept: dict[str, Tensor] | None = None) -> Tensor:
        """Forecast scaled targets from scaled inputs, [B, n, m] -> [B, outputs].

        Raises:
            ValueError: the input does not have the shape of the configuration.
        """
        expected = (self.config.window, self.config.features)
        if x.dim() != 3 or tuple(x.shape[1:]) != expected:
            raise ValueError(
                f"encoder: the input has shape {tuple(x.shape)}, expected [batch, {expected[0]}, {expected[1]}]"
            )
        stream = embed = self.embed(x) + self.position
        for index, layer in enumerate(self.layers):
            stream = layer(stream, f"{index}.", kept)
        forecast: Tensor = self.head(stream.mean(1))
        if kept is not None:
            pooled = kept[f"{self.config.layers - 1}.output"].mean(1)
            kept |= {"input": x, "position": self.position, "embed": embed, "pooled": pooled, "forecast": forecast}
        return forecast

    def blocks(self) -> list[Layer]:
        """Its layers, in order."""
        return cast("list[Layer]", list(self.layers))

    @torch.no_grad()
    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor of a run, as real values under the names of the integer program."""
        kept: dict[str, Tensor] = {}
        self(x, kept)
        return kept


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
