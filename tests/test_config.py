"""A configuration that cannot be is refused with the value and the limit."""

import pytest

from qtlib.config import DataConfig, Experiment, HardwareConfig, ModelConfig, QuantConfig, TrainConfig


@pytest.mark.parametrize("name", ["bits", "weight_bits", "input_bits", "residual_bits", "softmax_bits", "head_bits", "norm_bits"])
@pytest.mark.parametrize("bits", [1, 9])
def test_widths_outside_2_to_8_are_refused(name, bits):
    with pytest.raises(ValueError, match=f"^quantisation: {name}={bits} is outside 2..8$"):
        QuantConfig(**{name: bits})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: QuantConfig(bits=4.0), r"quantisation: bits=4.0 must be an integer"),
        (lambda: ModelConfig(d_model=10, heads=4), r"model: heads=4 does not divide d_model=10; legal: 1, 2, 5, 10"),
        (lambda: ModelConfig(norm="group"), r"model: norm='group' is not one of batch, layer"),
        (lambda: ModelConfig(window=0), r"model: window=0 is outside 1..256"),
        (lambda: DataConfig(horizon=-1), r"data: horizon=-1 is outside 0..10000"),
        (lambda: TrainConfig(learning_rate=0.0), r"train: learning_rate=0.0 must be above 0"),
        (lambda: HardwareConfig(weights="flash"), r"hardware: weights='flash' is not one of auto, block, distributed"),
        (lambda: HardwareConfig(clock_mhz=0), r"hardware: clock_mhz=0 must be above 0"),
    ],
)
def test_an_illegal_choice_is_refused_with_the_legal_ones(build, text):
    with pytest.raises((ValueError, TypeError), match=f"^{text}$"):
        build()


def test_the_width_of_the_sums_is_part_of_the_key_only_where_a_layer_norm_reads_them():
    def run_id(norm, bits):
        return Experiment(model=ModelConfig(norm=norm), quant=QuantConfig(norm_bits=bits)).run_id

    assert run_id("batch", 8) == run_id("batch", 6)
    assert run_id("layer", 8) != run_id("layer", 6)
