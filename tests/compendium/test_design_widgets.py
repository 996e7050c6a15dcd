import itertools

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from qtlib.compendium import design_widgets, figures
from qtlib.hardware.lane_shape import legal_lanes, legal_unrolls


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        mpl.use("Agg")
        figures.use_style()
        yield
    plt.close("all")


@pytest.fixture
def drawn(monkeypatch):
    """Choices that were drawn."""
    seen, draw = [], design_widgets.draw
    monkeypatch.setattr(design_widgets, "draw", lambda **choice: seen.append(choice) or draw(**choice))
    return seen


def choose(control, value):
    """Choose as the browser does, by the place of a value among those that are offered."""
    control.set_state({"index": control.options.index(value)})


OTHER = {"window": 12, "d_model": 8, "bits": 4, "device": "xc7s6", "lanes": 12, "unroll": 2}


@pytest.mark.parametrize(("name", "value"), OTHER.items())
def test_a_choice_is_drawn_once_and_changes_the_picture(drawn, name, value):
    explorer = design_widgets.explorer()
    before = bytes(explorer.picture.value)
    choose(explorer.controls[name], value)
    assert len(drawn) == 2 and drawn[0] == design_widgets.DEFAULT and drawn[1][name] == value
    after = bytes(explorer.picture.value)
    assert before != after and after.startswith(b"\x89PNG")


def test_a_window_offers_its_own_lanes_and_unrolls_and_takes_the_nearest(drawn):
    controls = design_widgets.explorer().controls
    choose(controls["lanes"], 8)
    choose(controls["unroll"], 8)
    choose(controls["window"], 6)
    assert controls["lanes"].options == (1, 2, 3, 6) and controls["unroll"].options == (1, 2, 3, 6)
    assert drawn[-1] == design_widgets.DEFAULT | {"window": 6, "lanes": 6, "unroll": 6}
    choose(controls["lanes"], 1)
    assert controls["unroll"].options == (1,)


def test_only_legal_choices_are_offered_and_each_of_them_is_drawn(drawn):
    controls = design_widgets.explorer().controls
    corners = ((options[0], options[-1]) for options in design_widgets.CHOICES.values())
    for corner in itertools.product(*corners):
        for name, value in zip(design_widgets.CHOICES, corner, strict=True):
            choose(controls[name], value)
        assert controls["lanes"].options == tuple(legal_lanes(controls["window"].value))
        for lanes in (controls["lanes"].options[0], controls["lanes"].options[-1]):
            choose(controls["lanes"], lanes)
            assert controls["unroll"].options == tuple(legal_unrolls(lanes))
            for unroll in (controls["unroll"].options[-1], 1):
                choose(controls["unroll"], unroll)
                assert drawn[-1] == dict(zip(design_widgets.CHOICES, corner, strict=True)) | {
                    "lanes": lanes,
                    "unroll": unroll,
                }


def test_the_engine_is_changed_without_making_the_program_again():
    explorer = design_widgets.explorer()
    made = design_widgets._program.cache_info().misses
    for name in ("device", "lanes", "unroll"):
        choose(explorer.controls[name], OTHER[name])
    assert design_widgets._program.cache_info().misses == made


def test_no_figure_stays_open_for_the_notebook_to_show_again():
    choose(design_widgets.explorer().controls["bits"], 2)
    assert not plt.get_fignums()


def test_illegal_lanes_are_refused():
    with pytest.raises(
        ValueError, match=r"^schedule: lanes=7 do not fold a window of 24; legal: 1, 2, 3, 4, 5, 6, 8, 12, 24$"
    ):
        design_widgets.draw(**design_widgets.DEFAULT | {"lanes": 7})
