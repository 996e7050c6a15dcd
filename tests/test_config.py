"""A configuration that cannot be is refused with the value and the limit."""

import re

import pytest

from qtlib.config import DataConfig, Experiment, HardwareConfig, ModelConfig, QuantConfig, TrainConfig


@pytest.mark.parametrize(
    "name", ["bits", "weight_bits", "input_bits", "residual_bits", "softmax_bits", "head_bits", "norm_bits"]
)
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


def test_a_quantised_model_starts_from_the_next_wider_step_and_the_widest_from_the_float_model():
    four = Experiment(quant=QuantConfig(bits=4, narrowing=(8, 6)))
    assert four.start == Experiment(quant=QuantConfig(bits=6, narrowing=(8,)))
    assert four.start.start == Experiment(quant=QuantConfig(bits=8))
    assert four.start.start.start == Experiment(quant=None)
    assert Experiment(quant=None).start is None


def test_narrowing_is_part_of_the_key_only_where_there_is_one():
    assert "narrowing" not in Experiment().choices["quant"]
    assert Experiment(quant=QuantConfig(bits=4, narrowing=(8,))).run_id != Experiment(quant=QuantConfig(bits=4)).run_id


@pytest.mark.parametrize("narrowing", [(4,), (6, 8), (8, 8), (3,)])
def test_a_narrowing_that_does_not_fall_is_refused(narrowing):
    text = f"quantisation: narrowing={narrowing} must fall, down to more than bits=4"
    with pytest.raises(ValueError, match=re.escape(text)):
        QuantConfig(bits=4, narrowing=narrowing)


def test_a_narrowing_from_an_illegal_width_is_refused():
    with pytest.raises(ValueError, match=r"quantisation: narrowing=9 is outside 2\.\.8"):
        QuantConfig(bits=4, narrowing=(9,))


@pytest.mark.parametrize(
    ("hardware", "error", "text"),
    [
        ({"multiplier": "dps"}, ValueError, "hardware: multiplier='dps' is not one of auto, dsp, lut, packed"),
        *(
            ({name: "registers"}, ValueError, f"hardware: {name}='registers' is not one of auto, block, distributed")
            for name in ("activations", "weights", "parameters", "tables")
        ),
        ({"lanes": 0}, ValueError, "hardware: lanes=0 is outside 1..1024"),
        ({"unroll": 0}, ValueError, "hardware: unroll=0 is outside 1..1024"),
        ({"requantisers": -1}, ValueError, "hardware: requantisers=-1 is outside 1..1024"),
        ({"lanes": 2.0}, TypeError, "hardware: lanes=2.0 must be an integer"),
        (
            {"stores": {"brodcast": "block"}},
            ValueError,
            "hardware: store='brodcast' is not one of input, activation, broadcast, exponential, reciprocal, score, weight, head, "
            "parameter, position, table",
        ),
        (
            {"stores": {"broadcast": "registers"}},
            ValueError,
            "hardware: stores['broadcast']='registers' is not one of auto, block, distributed",
        ),
        ({"stores": "broadcast"}, TypeError, "hardware: stores='broadcast' must map names of stores to memory types"),
        ({"clock_mhz": 0}, ValueError, "hardware: clock_mhz=0 must be above 0"),
    ],
)
def test_a_wrong_value_is_refused_before_any_program_is_seen(hardware, error, text):
    with pytest.raises(error, match=re.escape(text)):
        HardwareConfig(**hardware)


def test_equal_choices_of_stores_are_one_config_whatever_their_order_and_form():
    pairs = {"head": "block", "table": "block"}
    made = [
        HardwareConfig(stores=stores)
        for stores in (pairs, dict(reversed(pairs.items())), [["head", "block"], ["table", "block"]])
    ]
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        (
            {"stores": {"brodcast": "block"}},
            "exponential, reciprocal, score, weight, head, parameter, position, table; did you mean 'broadcast'?",
        ),
        (
            {"stores": {"head": "blok"}},
            "hardware: stores['head']='blok' is not one of auto, block, distributed; did you mean 'block'?",
        ),
        ({"multiplier": "dps"}, "hardware: multiplier='dps' is not one of auto, dsp, lut, packed; did you mean 'dsp'?"),
    ],
    ids=["store", "memory-type", "multiplier"],
)
def test_a_misspelt_choice_gets_a_suggestion(hardware, text):
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        HardwareConfig(**hardware)
