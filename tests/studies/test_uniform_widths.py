"""One width for all: what a table of sizes and widths says is what the estimate says of each design."""

from waves import EIGHT, FLOAT, FOUR

from qtlib.config import HardwareConfig
from qtlib.estimate.resources import estimate
from qtlib.hardware.engine_schedule import schedule
from qtlib.studies import uniform_widths
from qtlib.training.lowering import example

ENGINE = HardwareConfig(lanes=6)


def test_costs_are_those_of_the_schedule_and_of_the_estimate():
    program = example(EIGHT.model, EIGHT.quant)
    found, total = uniform_widths.costs(program, ENGINE), estimate(program, ENGINE).total
    assert found["clocks"] == schedule(program, ENGINE).latency
    assert [found[name] for name in uniform_widths.CELLS] == [
        round(total.lut),
        round(total.ff),
        total.dsp,
        total.ramb18,
    ]


def test_weights_are_counted_in_bits():
    d = EIGHT.model.d_model
    weights = d + 12 * d**2 + d  # embedding, four square matrices, a feed-forward block of twice 4 d, head
    assert uniform_widths.costs(example(EIGHT.model, EIGHT.quant), ENGINE)["weight_kbit"] == weights * 8 / 1000
    four = uniform_widths.costs(example(FOUR.model, FOUR.quant), ENGINE)["weight_kbit"]
    assert four == ((weights - d) * 4 + d * 8) / 1000  # the head keeps 8 bits


def test_a_table_has_a_row_for_every_quantised_experiment_and_its_errors():
    metrics = {e: {"validation_rmse": i, "test_rmse": 2 * i} for i, e in enumerate((FLOAT, EIGHT, FOUR))}
    table = uniform_widths.table(metrics, ENGINE)
    assert table[["d_model", "bits", "validation_rmse", "test_rmse"]].values.tolist() == [[8, 8, 1, 2], [8, 4, 2, 4]]
    assert table.clocks.nunique() == 1 and table.lut[0] > table.lut[1]
