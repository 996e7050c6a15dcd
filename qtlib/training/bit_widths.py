"""How many bits every tensor of codes has, and the weights of every layer."""

from __future__ import annotations

from qtlib.config import ModelConfig, QuantConfig

FEED_FORWARD = ("0.hidden.weight", "0.output.weight")  # of the first layer; two thirds of its weights


def narrow_weights(bits: int, weights: int, feed_forward: int) -> QuantConfig:
    """Activations of ``bits``, weights of ``weights``, those of the feed-forward block of a single layer of ``feed_forward``."""
    return QuantConfig(bits=bits, weight_bits=weights, overrides=tuple((name, feed_forward) for name in FEED_FORWARD))


def widths(config: ModelConfig, quant: QuantConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Bits of every tensor of codes, and of the weights of every layer, by the program's names.

    Raises:
        ValueError: an override names what the model does not have.
    """
    tensors = {"input": quant.input_bits, "embed": quant.residual}
    for i in range(config.layers):
        tensors |= {f"{i}.{name}": quant.bits for name in ("q", "k", "v", "scores", "context", "hidden")}
        tensors |= {f"{i}.{name}": quant.residual for name in ("attention", "output")}
        if config.norm == "layer":
            tensors |= {f"{i}.{name}_sum": quant.norm_bits for name in ("attention", "output")}
    of_layers = [f"{name}_sum" if f"{name}_sum" in tensors else name for name in tensors]
    layers = [
        name for name in dict.fromkeys(of_layers) if name.rpartition(".")[2] not in ("input", "scores", "context")
    ]
    weights = dict.fromkeys(layers, quant.weights) | {"forecast": quant.head_bits}
    for name, bits in quant.overrides:
        layer = name.removesuffix(".weight")
        found, key = (weights, layer) if name.endswith(".weight") else (tensors, name)
        if key not in found:
            legal = [*tensors, *(f"{layer}.weight" for layer in weights)]
            raise ValueError(f"quantisation: overrides name {name!r}; this model has {', '.join(legal)}")
        found[key] = bits
    return tensors, weights
