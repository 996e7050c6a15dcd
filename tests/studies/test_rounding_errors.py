"""The error of a program, tensor by tensor."""

import numpy as np
import pytest

from qtlib.program import reference
from qtlib.studies.rounding_errors import rounding_errors
from qtlib.training.random_models import codes, program


def test_the_error_is_that_of_every_tensor_over_the_spread_of_its_real_values():
    prog = program()
    x = prog.input.values(codes(prog))
    real = {name: prog.tensors[name].values(c) for name, c in reference.trace(prog, codes(prog)).items()}
    same = rounding_errors(prog, real, x)
    assert same["tensor"].tolist() == list(real) and (same["error"] == 0).all()
    assert same["width"].tolist() == [prog.tensors[name].bits for name in real]
    spread = real["0.hidden"].std()
    away = rounding_errors(prog, real | {"0.hidden": real["0.hidden"] + 0.5 * spread}, x).set_index("tensor")["error"]
    assert away["0.hidden"] == pytest.approx(0.5)
    assert np.count_nonzero(away) == 1
