"""One trial of a search: what it records, what it refuses, and that it reads no test error."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from explore.small_search import SHORT, SMALL, outcomes, searched

from qtlib import explore
from qtlib.estimate.resources import estimate
from qtlib.explore import storage, trial
from qtlib.explore.trial import Infeasible, Job, Pruned
from qtlib.studies import precision_studies
from qtlib.studies.tensor_sensitivity import SOFTMAX
from qtlib.training.bit_widths import widths
from qtlib.training.runs import train


def test_a_complete_trial_holds_the_validation_error_and_the_estimate_of_its_trained_program(real):
    done = real.table[real.table.outcome == "complete"]
    assert len(done) >= 4
    for row in done.to_dict("records"):
        experiment, hardware = explore.design(row, real.base, SMALL)
        kept = train(experiment, precision_studies.windows(experiment.data))
        found = estimate(kept.program, hardware)
        assert row["run_id"] == experiment.run_id
        assert row["validation_rmse"] == kept.metrics["validation_rmse"] != kept.metrics["test_rmse"]
        assert (row["clocks"], row["lut"], row["dsp"]) == (found.clocks, round(found.total.lut), found.total.dsp)
        assert row["lanes"] == hardware.lanes == 6 // row["groups"]


def test_no_test_error_is_read_in_a_search(base, monkeypatch):
    def without_test(*args, **options):
        run = train(*args, **options)
        return run._replace(metrics={key: value for key, value in run.metrics.items() if not key.startswith("test")})

    monkeypatch.setattr(trial, "train", without_test)
    found = searched(base, 1, hopeless=100.0)
    assert outcomes(found)["complete"] == 1
    assert "test" not in json.dumps([t.user_attrs for t in found.get_trials()])


def test_all_trials_start_from_one_float_model_of_their_shape(real):
    folders = [f for f in os.listdir(real.folder / "runs") if not f.startswith(".")]
    quantised = set(real.table.run_id.dropna())
    assert len([f for f in folders if f.partition("-")[0] not in quantised]) == 1


def test_every_width_of_a_point_reaches_the_program(real):
    row = real.table[real.table.outcome == "complete"].iloc[-1]
    experiment, _ = explore.design(row, real.base, SMALL)
    codes, layers = widths(experiment.model, experiment.quant)
    assert codes == {name: row[name] for name in codes} and experiment.quant.softmax == row[SOFTMAX]
    assert layers == {name: row[f"{name}.weight"] for name in layers}


def test_the_average_width_is_weighted_by_the_number_of_weights(base):
    point = explore.anchors(SMALL, base)[0] | {"0.hidden.weight": 4}
    job = Job("s", "", base, SMALL, ("validation_rmse", "clocks"), 100.0)
    record = {}
    trial.measure(point, job, record)
    hidden, others = 8 * 32, 8 + 3 * 64 + 64 + 32 * 8 + 8
    assert record["mean_weight_bits"] == pytest.approx((4 * hidden + 8 * others) / (hidden + others))


def test_what_exceeds_the_device_is_infeasible_before_it_is_trained(base, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "train", lambda e, *args, **options: asked.append(e.quant) or train(e, *args, **options))
    large = replace(SMALL, multiplier=["dsp"], unroll=[6], groups=[1])
    with pytest.raises(ValueError, match="none of the 1 designs tried fits"):
        searched(base, 1, large)
    row = explore.trials(explore.load("s")).iloc[0]
    assert row["outcome"] == "infeasible" and re.search(
        r"^it exceeds an xc7s15 by \d+ DSP blocks \(\d+ of 20\)", row["why"]
    )
    assert row["dsp"] > 20 and np.isnan(row["validation_rmse"]) and set(asked) == {None}


def test_what_the_engine_refuses_is_infeasible_and_the_sampler_is_told(base):
    odd = replace(SMALL, window=[6], groups=[1, 2], unroll=[1, 2])  # 2 does not divide 3 lanes
    job = Job("s", "", base, odd, ("validation_rmse", "clocks"), 100.0)
    with pytest.raises(Infeasible, match=r"^schedule: unroll=2 does not divide lanes=3; legal: 1, 3$") as caught:
        trial.measure(explore.anchors(odd, base)[0] | {"groups": 2, "unroll": 2}, job, {})
    assert caught.value.excess == trial.ILLEGAL


def test_a_hopeless_training_stops_after_its_first_epoch_and_is_not_kept(base):
    job = Job("s", "", replace(base, train=replace(SHORT, qat_epochs=3)), SMALL, ("validation_rmse", "clocks"), 1e-3)
    seen, record = [], {}
    text = r"^validation rmse [\d.]+ after the first epoch is above [\d.]+, 0.001 times the larger of the naive and the float error$"
    with pytest.raises(Pruned, match=text):
        trial.measure(explore.anchors(SMALL, base)[0], job, record, lambda *epoch: seen.append(epoch[:2]))
    assert seen == [(1, 1), (1, 3)]
    assert not list((storage.paths.prepared() / "runs").glob(f"{record['run_id']}-*"))


def test_the_naive_error_is_that_of_the_last_value(base):
    held = precision_studies.windows(base.data).validation
    truth = precision_studies.windows(base.data).truth(held)
    assert trial.naive(precision_studies.windows(base.data)) == pytest.approx(
        np.sqrt(np.mean((held.anchor - truth) ** 2))
    )


def test_a_point_that_has_ended_is_not_measured_again(base, measured):
    one = replace(SMALL, activation_bits=[8], weight_bits=[8], groups=[1, 2])
    table = explore.trials(searched(base, 4, one))
    assert len(measured.asked) == 2 and outcomes(explore.load("s")) == {"complete": 2, "pruned": 2}
    assert re.fullmatch(r"the same choices as trial [01]", table.why[3])


def test_infeasible_trials_tell_the_sampler_how_far_they_are_from_fitting(base, measured):
    measured.how |= {0: Infeasible("too big", 2.0)}
    first, second = searched(base, 2).get_trials()[:2]
    assert (first.state.name, first.constraints, second.constraints) == ("PRUNED", {"device": 2.0}, {})
