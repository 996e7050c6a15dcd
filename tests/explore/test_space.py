"""What a search may choose from, and where it starts."""

import re
from dataclasses import replace

import pytest
from explore.small_search import SMALL, searched

from qtlib import explore
from qtlib.config import Experiment, HardwareConfig, ModelConfig, QuantConfig
from qtlib.studies import precision_studies
from qtlib.studies.tensor_sensitivity import SOFTMAX
from qtlib.training.bit_widths import widths


def test_the_first_trials_are_uniform_widths_on_the_default_hardware_and_the_cheapest_corner(base):
    space = explore.Space()
    eight, six, four, corner = explore.anchors(space, Experiment())
    assert explore.design(eight, Experiment(), space)[1] == replace(HardwareConfig(), lanes=24)
    for point, bits in ((eight, 8), (six, 6), (four, 4)):
        assert widths(ModelConfig(), explore.design(point, Experiment(), space)[0].quant) == widths(
            ModelConfig(), QuantConfig(bits=bits)
        )
    assert (corner["window"], corner["d_model"], corner["groups"], corner["0.q.weight"]) == (12, 8, 4, 2)


def test_an_empty_choice_is_refused():
    with pytest.raises(ValueError, match="^space: window has no choice; name at least one$"):
        explore.Space(window=[])


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"window": 24}, TypeError, "space: window=24 must be a list of choices"),
        ({"multiplier": "auto"}, TypeError, "space: multiplier='auto' must be a list of choices"),
        ({"weight_bits": [1, 4]}, ValueError, "space: weight_bits=1 is outside 2..8"),
        ({"tensors": {"0.q": [9]}}, ValueError, "space: tensors['0.q']=9 is outside 2..8"),
        ({"multiplier": ["dps"]}, ValueError, "space: multiplier='dps' is not one of auto, dsp, lut, packed; did you mean 'dsp'?"),
        ({"device": "xc7s16"}, ValueError, "hardware: device='xc7s16' is not one of xc7s6, xc7s15, xc7s25, xc7s50; did you mean 'xc7s6'?"),
        ({"clock_mhz": 0.0}, ValueError, "hardware: clock_mhz=0.0 must be above 0"),
        ({"groups": [30]}, ValueError, "space: groups=30 is more than the 24 tokens of the longest window"),
        (
            {"window": [12], "groups": [1, 2], "unroll": [1, 5]},
            ValueError,
            (
                "space: unroll=5 divides the lanes of no window and groups: 6, 12; "
                "take it out, or add a window or groups whose lanes it divides"
            ),
        ),
    ],
)  # fmt: skip
def test_a_space_says_what_is_wrong_with_it(fields, kind, text):
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        explore.Space(**fields)


def test_a_space_names_only_tensors_that_the_model_has(base):
    with pytest.raises(ValueError, match=r"^quantisation: overrides name '1.q'; this model has input, embed, 0.q, "):
        searched(base, 1, replace(SMALL, tensors={"1.q": [4]}))


def test_a_choice_of_a_single_tensor_stands_before_that_of_its_kind(base):
    choices = replace(SMALL, tensors={"embed": [8], "0.q.weight": [2, 3], SOFTMAX: [5]}).choices(base)
    assert (choices["embed"], choices["0.q.weight"], choices[SOFTMAX], choices["0.q"]) == ((8,), (2, 3), (5,), (4, 8))


def test_a_space_is_read_from_json(tmp_path):
    file = tmp_path / "space.json"
    file.write_text('{"window": [6], "groups": [1], "tensors": {"embed": [8]}}')
    assert explore.read_space(file) == explore.Space(window=[6], groups=[1], tensors={"embed": [8]})
    file.write_text('{"windows": [6]}')
    with pytest.raises(ValueError, match="^space: field='windows' is not one of .*; did you mean 'window'?"):
        explore.read_space(file)
    file.write_text("[6]")
    with pytest.raises(TypeError, match=f"^space: {file} must be a JSON object of fields, it is a list$"):
        explore.read_space(file)
    file.write_text("{")
    with pytest.raises(ValueError, match=f"^space: {file} is not JSON \\("):
        explore.read_space(file)


def test_the_base_of_a_data_set_is_its_task_in_the_studies_with_short_training(monkeypatch):
    made = explore.make_base("etth1")
    assert made.data == precision_studies.TASKS["ETTh1"] and made.train.qat_epochs == 4
    assert explore.make_base("pems", qat_epochs=2).train.qat_epochs == 2
