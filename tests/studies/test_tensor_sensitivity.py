from types import SimpleNamespace

import numpy as np
import pytest
import torch
from waves import DATA, series

from qtlib.config import ModelConfig, QuantConfig
from qtlib.data.windows import prepare
from qtlib.program import reference
from qtlib.studies import tensor_sensitivity
from qtlib.training import random_models
from qtlib.training.determinism import one_thread
from qtlib.training.lowering import lower

NARROW = {"8-bit": QuantConfig(bits=8), "min-max": QuantConfig(bits=8, scheme="minmax")}
SHAPES = {name: random_models.SHAPES[name] for name in ("one-layer", "two-layers-three-outputs", "layer-norm")}


@pytest.fixture(autouse=True)
def alone():
    """The models are too small for threads to pay."""
    with one_thread():
        yield


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("shape", "scheme"), [(name, "8-bit") for name in SHAPES] + [("one-layer", "min-max")], ids=lambda value: value
)
def test_one_tensor_is_narrowed_and_every_program_is_exact(shape, scheme):
    shape = SHAPES[shape]
    model, x = random_models.quantised(shape, NARROW[scheme]), random_models.windows(shape, 32)
    values = model.values(x)
    for name in tensor_sensitivity.names(model):
        found = tensor_sensitivity.narrowed(model, name, 3, values)
        widths = found.bits | {f"{k}.weight": b for k, b in found.weight_bits.items()}
        widths[tensor_sensitivity.SOFTMAX] = found.quant.softmax
        assert {key for key, bits in widths.items() if bits != 8} == {name} and widths[name] == 3
        program = lower(found)
        codes = reference.run(program, program.input.codes(x.numpy()))
        assert (found.trace(x)["forecast"].numpy() == codes).all()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_only_the_scale_of_the_narrowed_tensor_changes(shape):
    model = random_models.quantised(shape, NARROW["8-bit"])
    values = model.values(random_models.windows(shape, 32))
    for name in tensor_sensitivity.names(model):
        before, after = state(model), state(tensor_sensitivity.narrowed(model, name, 4, values))
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        expected = {"weight_log_scale"} if name.endswith(".weight") else {"log_scale"}
        if name.endswith((".v", ".context")):
            expected |= {"log_scale", "context_gain"}
        if name in model._norms():
            expected = {"norm_gain"}
        assert changed <= expected, name
        if changed == {"log_scale"} and not name.endswith(".context"):
            place = model._learned().index(name)
            assert (before["log_scale"] != after["log_scale"]).nonzero().flatten().tolist() == [place]


def test_the_new_scale_suits_the_new_width():
    shape = random_models.SHAPES["one-layer"]
    model, x = random_models.quantised(shape, NARROW["8-bit"]), random_models.windows(shape, 64)
    values = model.values(x)
    for name in ("0.q", "0.hidden", "0.output", "embed", "0.context"):
        codes = tensor_sensitivity.narrowed(model, name, 4, values).trace(x)[name]
        assert len(codes.unique()) >= 8, name  # an 8-bit scale would leave the two ends


def test_a_narrow_context_takes_v_along_where_the_engine_cannot_shift_further():
    shape = random_models.SHAPES["one-layer"]
    model = random_models.quantised(shape, NARROW["8-bit"])
    values = model.values(random_models.windows(shape, 64))
    found = tensor_sensitivity.narrowed(model, "0.context", 2, values)
    ratio = found.scales()["0.v"] / model.scales()["0.v"]
    assert (
        int(found.context_gain[0]) == 0
        and ratio > 1
        and np.log2(ratio) == pytest.approx(round(np.log2(ratio)), abs=1e-5)
    )


def test_values_are_those_of_the_trained_codes_and_the_input_is_not_rounded():
    shape = random_models.SHAPES["one-layer"]
    model, x = random_models.quantised(shape, NARROW["8-bit"]), random_models.windows(shape, 8)
    values, codes, program = model.values(x), model.trace(x), lower(model)
    assert torch.equal(values["input"], x.double())
    for name in ("embed", "0.hidden", "0.context"):
        assert values[name].numpy() == pytest.approx(program.tensors[name].values(codes[name].numpy()))
    assert values["0.hidden"].min() == 0


def test_narrowing_leaves_the_model_and_the_random_state_of_the_caller():
    shape = random_models.SHAPES["one-layer"]
    model = random_models.quantised(shape, NARROW["8-bit"])
    before, random = state(model), torch.get_rng_state()
    tensor_sensitivity.narrowed(model, "0.v", 2, model.values(random_models.windows(shape, 8)))
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_name_that_the_model_does_not_have_is_refused():
    model = random_models.quantised(random_models.SHAPES["one-layer"], NARROW["8-bit"])
    with pytest.raises(ValueError, match=r"^quantisation: overrides name '1\.hidden'; this model has input, embed"):
        tensor_sensitivity.narrowed(model, "1.hidden", 4, {"input": random_models.windows(model.config, 1)})


@pytest.fixture(scope="module")
def run():
    prepared = prepare(DATA, series=series(400))
    model = random_models.quantised(ModelConfig(window=6, d_model=8), QuantConfig(bits=6))
    return SimpleNamespace(model=model, program=lower(model)), prepared


def test_the_table_has_every_tensor_at_every_smaller_width(run):
    table = tensor_sensitivity.sensitivity(*run, bits=(6, 4, 2))
    names = tensor_sensitivity.names(run[0].model)
    assert len(names) == 19 and {"0.hidden", "0.hidden.weight", "forecast.weight", "exponentials"} < set(names)
    wide = ("input", "forecast.weight")  # 8 bits, as the host's input and the weights of the head are
    assert len(table) == 1 + 2 * len(names) + len(wide)
    assert set(table[table.bits == 6].name) == {"", *wide}
    assert table.kind.tolist() == ["none", *(names[name] for name in table.name[1:])]


def test_the_increase_is_that_of_the_program_itself(run):
    table = tensor_sensitivity.sensitivity(*run, bits=(2,))
    prepared = run[1]
    values = prepared.to_units(reference.predict(run[0].program, prepared.validation.x), prepared.validation)
    own = np.sqrt(np.mean((values - prepared.truth(prepared.validation)) ** 2))
    assert table.validation_rmse[0] == own and table.increase[0] == 0
    assert table.increase.to_numpy() == pytest.approx(100 * (table.validation_rmse.to_numpy() / own - 1))


def test_a_float_run_is_refused():
    with pytest.raises(ValueError, match="^sensitivity: the run is a float model, which has no widths$"):
        tensor_sensitivity.sensitivity(SimpleNamespace(program=None), None)
