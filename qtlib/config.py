"""What was run: immutable, validated, hashable. Nothing here reads a file or the clock.

`DataConfig`, `ModelConfig`, `QuantConfig` and `TrainConfig` are the numeric half: together they decide every trained
bit and their hash is the `run_id`. `HardwareConfig` is the implementation half and may not change a single output bit.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

BITS = range(2, 9)
NORMS = ("batch", "layer")
SCHEMES = ("learned", "minmax")
MEMORY_TYPES = ("auto", "block", "distributed")
# Every store of the engine -> the field of `HardwareConfig` that rules it unless the store is named by itself.
STORES = {
    **dict.fromkeys(("input", "activation", "broadcast", "exponential", "reciprocal", "score"), "activations"),
    **dict.fromkeys(("weight", "head"), "weights"),
    **dict.fromkeys(("parameter", "position"), "parameters"),
    "table": "tables",
}
MULTIPLIERS = ("auto", "dsp", "lut", "packed")


def check_choice(place: str, name: str, value: Any, legal: Any) -> None:
    """Raise ValueError unless ``value`` is one of ``legal``; the text lists them and suggests the closest."""
    if value not in legal:
        close = difflib.get_close_matches(str(value).lower(), map(str, legal), n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{place}: {name}={value!r} is not one of {', '.join(map(str, legal))}{guess}")


def check_range(place: str, name: str, value: int, low: int, high: int) -> None:
    """Raise unless ``value`` is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{place}: {name}={value!r} must be an integer")
    if not low <= value <= high:
        raise ValueError(f"{place}: {name}={value} is outside {low}..{high}")


def digest(plain: dict[str, Any]) -> str:
    """First ten hex digits of the SHA-256 of the canonical JSON form of a config's fields."""
    canonical = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which series, and how it is cut into windows."""

    dataset: str = "pems"
    window: int = 24  # time steps per input
    horizon: int = 1  # steps from the last input to the first target
    outputs: int = 1  # consecutive targets per window, times the number of target columns
    anchored: bool = False  # the target is the change from the last observed value
    relative: bool = False  # every feature is its change from the last step of the window
    features: tuple[str, ...] | None = None  # None: the data set's own choice
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_range("data", "window", self.window, 2, 256)
        check_range("data", "horizon", self.horizon, 0, 10_000)
        check_range("data", "outputs", self.outputs, 1, 256)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of the encoder (arXiv 2407.11041, section 3)."""

    window: int = 24  # tokens n
    features: int = 1  # channels m per token
    outputs: int = 1  # results of the head
    d_model: int = 16
    heads: int = 1
    layers: int = 1
    ffn: int | None = None  # hidden width; None: 4 d_model
    norm: str = "batch"  # "layer": normalised token by token, which needs no statistics of the training

    def __post_init__(self) -> None:
        for name, low, high in (
            ("window", 1, 256),
            ("features", 1, 256),
            ("outputs", 1, 256),
            ("d_model", 1, 512),
            ("heads", 1, 64),
            ("layers", 1, 16),
            ("ffn_width", 1, 4096),
        ):
            check_range("model", name, getattr(self, name), low, high)
        check_choice("model", "norm", self.norm, NORMS)
        if self.d_model % self.heads:
            legal = [h for h in range(1, self.d_model + 1) if self.d_model % h == 0]
            raise ValueError(
                f"model: heads={self.heads} does not divide d_model={self.d_model}; legal: {', '.join(map(str, legal))}"
            )

    @property
    def ffn_width(self) -> int:
        """Hidden features of the feed-forward block."""
        return 4 * self.d_model if self.ffn is None else self.ffn

    @property
    def head_width(self) -> int:
        """Features per attention head."""
        return self.d_model // self.heads

    @property
    def parameters(self) -> int:
        """Trainable parameters; 12 d^2 + (15 + m) d + 1 for the published shape (arXiv 2407.11041)."""
        d, f = self.d_model, self.ffn_width
        layer = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d
        return (self.features * d + d) + self.layers * layer + (d + 1) * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, of the layers and of the attention products."""
        n, d, f = self.window, self.d_model, self.ffn_width
        layer = n * (4 * d * d + 2 * d * f) + 2 * n * n * d
        return n * self.features * d + self.layers * layer + d * self.outputs


@dataclass(frozen=True, kw_only=True)
class QuantConfig:
    """Widths of the codes. ``bits`` is the body; every other width follows it unless it is set."""

    bits: int = 8  # weights and activations of the encoder, signed
    weight_bits: int | None = None
    input_bits: int = 8  # codes of the host's input, and of the position table
    residual_bits: int | None = None  # the stream between the blocks
    softmax_bits: int | None = None  # unsigned codes of the exponentials
    head_bits: int = 8  # weights of the head; its result stays a wide accumulator
    norm_bits: int = 8  # codes of the sums that LayerNorm reads; with BatchNorm there are none
    overrides: tuple[tuple[str, int], ...] = ()  # bits of single tensors, "0.hidden", and of weights, "0.hidden.weight"
    # learned: LSQ, a scale for each output channel of the weights; minmax: largest values, a scale for each layer.
    scheme: str = "learned"
    narrowing: tuple[
        int, ...
    ] = ()  # widths of the body that are trained before, one after the other: (8, 6), then ``bits``

    def __post_init__(self) -> None:
        for name in ("bits", "weight_bits", "input_bits", "residual_bits", "softmax_bits", "head_bits", "norm_bits"):
            if getattr(self, name) is not None:
                check_range("quantisation", name, getattr(self, name), BITS[0], BITS[-1])
        check_choice("quantisation", "scheme", self.scheme, SCHEMES)
        object.__setattr__(self, "narrowing", tuple(self.narrowing))
        for bits in self.narrowing:
            check_range("quantisation", "narrowing", bits, BITS[0], BITS[-1])
        if any(wide <= narrow for wide, narrow in pairwise((*self.narrowing, self.bits))):
            raise ValueError(f"quantisation: narrowing={self.narrowing} must fall, down to more than bits={self.bits}")
        overrides = dict(self.overrides)
        for name, bits in overrides.items():
            check_range("quantisation", f"overrides[{name!r}]", bits, BITS[0], BITS[-1])
        object.__setattr__(self, "overrides", tuple(sorted(overrides.items())))

    @property
    def weights(self) -> int:
        """Width of the weight codes of the body."""
        return self.bits if self.weight_bits is None else self.weight_bits

    @property
    def residual(self) -> int:
        """Width of the residual stream."""
        return self.bits if self.residual_bits is None else self.residual_bits

    @property
    def softmax(self) -> int:
        """Width of the exponentials, unsigned."""
        return self.bits if self.softmax_bits is None else self.softmax_bits


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found; every random choice comes from ``seed``."""

    seed: int = 0
    epochs: int = 30  # of float training
    qat_epochs: int = 20
    batch: int = 64
    learning_rate: float = 3e-3
    qat_learning_rate: float = 3e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        check_range("train", "seed", self.seed, 0, 2**31 - 1)
        for name in ("epochs", "qat_epochs", "batch"):
            check_range("train", name, getattr(self, name), 1, 1_000_000)
        for name in ("learning_rate", "qat_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"train: {name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One trained model; two equal experiments share one ``run_id``. ``quant=None`` is the float model."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    quant: QuantConfig | None = field(default_factory=QuantConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def run_id(self) -> str:
        """Key of everything that is computed from this experiment."""
        return digest(self.choices)

    @property
    def choices(self) -> dict[str, Any]:
        """Every choice that decides a trained bit: no ``norm_bits`` without LayerNorm, no ``narrowing`` of no steps, no ``relative``
        that is off."""
        plain = asdict(self)
        if not self.data.relative:
            del plain["data"]["relative"]
        if self.quant:
            idle = {"norm_bits": self.model.norm != "layer", "narrowing": not self.quant.narrowing}
            plain["quant"] = {name: value for name, value in plain["quant"].items() if not idle.get(name)}
        return plain

    @property
    def start(self) -> Experiment | None:
        """What it is trained from: the next wider quantised model of its ``narrowing``, else the float model, which has none."""
        if self.quant is None:
            return None
        *before, bits = self.quant.narrowing or (None,)
        return replace(self, quant=replace(self.quant, bits=bits, narrowing=tuple(before)) if bits else None)


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Free choices of the engine: they change clocks and resources but never one output bit."""

    device: str = "xc7s15"
    clock_mhz: float = 100.0
    lanes: int | None = None  # tokens computed side by side; None: the whole window
    unroll: int = 1  # output features per clock
    requantisers: int | None = None  # codes requantised per clock; None: the fewest that hide
    multiplier: str = "auto"
    activations: str = "auto"  # memory type of the activation stores
    weights: str = "auto"
    parameters: str = "auto"
    tables: str = "auto"
    stores: Mapping[str, str] | tuple[tuple[str, str], ...] = ()  # memory type of single stores; kept as sorted pairs

    def __post_init__(self) -> None:
        if not isinstance(self.stores, Mapping | list | tuple):
            raise TypeError(f"hardware: stores={self.stores!r} must map names of stores to memory types")
        stores = dict(self.stores)
        object.__setattr__(self, "stores", tuple(sorted(stores.items())))
        for name, memory_type in stores.items():
            check_choice("hardware", "store", name, STORES)
            check_choice("hardware", f"stores[{name!r}]", memory_type, MEMORY_TYPES)
        for name in ("activations", "weights", "parameters", "tables"):
            check_choice("hardware", name, getattr(self, name), MEMORY_TYPES)
        check_choice("hardware", "multiplier", self.multiplier, MULTIPLIERS)
        for name, low in (("lanes", 1), ("unroll", 1), ("requantisers", 1)):
            if getattr(self, name) is not None:
                check_range("hardware", name, getattr(self, name), low, 1024)
        if not self.clock_mhz > 0:
            raise ValueError(f"hardware: clock_mhz={self.clock_mhz} must be above 0")

    def memory_type(self, store: str) -> str:
        """Memory type of one store of `STORES`: its own choice, else that of its kind."""
        return dict(self.stores).get(store) or getattr(self, STORES[store])
