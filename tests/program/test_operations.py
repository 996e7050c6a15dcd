"""The operations by their names."""

from qtlib.program.operations import KINDS, Context, Head, LayerNorm, Linear, Operation, Pool, Scores, Softmax
from qtlib.program.program import Program
from qtlib.training.random_models import program


def test_every_kind_of_operation_is_named_once():
    assert dict(KINDS) == {
        "linear": Linear, "scores": Scores, "softmax": Softmax, "context": Context, "layer_norm": LayerNorm, "pool": Pool,
        "head": Head,
    }  # fmt: skip
    assert issubclass(Linear, Operation) and isinstance(program(), Program)
