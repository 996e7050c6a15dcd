"""A training step: its rounding, and gradients that are those of the real expression."""

import pytest
import torch

from qtlib.program.codes import code_range
from qtlib.training.encoder import merge_heads, split_heads
from qtlib.training.integer_plan import LayerNormPlan
from qtlib.training.random_models import SHAPES, WIDTHS, quantised, windows
from qtlib.training.straight_through import (
    AttentionCodes,
    LayerNormCodes,
    LinearCodes,
    QuantiseInput,
    ScaledWeight,
    rounded,
)


def scaled_weight(weight, top, scale=1.0, ratio=1.0):
    rows = len(weight)
    vectors = [torch.full((rows,), value, dtype=torch.float64) for value in (scale, ratio)]
    return ScaledWeight.apply(weight, *vectors, torch.full((rows, 1), float(top)))


@pytest.mark.parametrize(("value", "code"), [(2.5, 3), (1.5, 2), (0.5, 1), (-0.5, 0), (-1.5, -1), (-2.5, -2)])
def test_training_rounds_half_up_and_not_to_even(value, code):
    one = torch.ones((), dtype=torch.float64)
    assert rounded(torch.tensor(value)) == code
    assert QuantiseInput.apply(torch.tensor([value]), one, -8, 7) == code
    assert scaled_weight(torch.tensor([[value]]), 7)[1] == code


def test_weight_codes_are_symmetric():
    assert scaled_weight(torch.tensor([[-9.0, 9.0]]), 7)[1].tolist() == [[-7.0, 7.0]]


def _straight_through(exact, real):
    return real + (exact - real).detach()


def _saturated(real, low, high):
    return _straight_through(torch.floor(real.detach() + 0.5).clamp(low, high), real.clamp(low - 0.5, high + 0.5))


def test_gradients_of_a_linear_layer_are_those_of_the_real_expression():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-8, 8, (4, 5, 6), generator=generator).double()
    weight = torch.randint(-7, 8, (3, 6), generator=generator).double()
    residual = torch.randint(-8, 8, (4, 5, 3), generator=generator).double()
    bias, gain = (torch.rand(3, generator=generator).double() * 0.1 + 0.02 for _ in range(2))
    upstream = torch.randn(4, 5, 3, generator=generator).double()

    def gradients(function):
        leaves = [t.clone().requires_grad_() for t in (x, weight * 0.07, bias, residual, gain)]
        y = function(*leaves)
        y.backward(upstream.to(y.dtype))
        return [y.detach().double(), *(leaf.grad for leaf in leaves)]

    def real(x, weight, bias, residual, gain):
        return _saturated(x @ weight.T + residual * gain + bias, -4, 3)

    def tested(*leaves):
        return LinearCodes.apply(*(t.float() for t in leaves), -4, 3)[0]

    expected, found = gradients(real), gradients(tested)
    assert 0.1 < (expected[0].abs() > 2).double().mean() < 0.9
    for a, b in zip(expected, found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_weight_are_those_of_lsq():
    weight = torch.tensor([[0.3, 2.6, 40.0, -40.0]], requires_grad=True)
    scale = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    scaled_codes, _ = ScaledWeight.apply(weight, scale, scale * 0.5, torch.tensor([[7.0]]))
    scaled_codes.sum().backward()
    assert weight.grad.tolist() == [[0.5, 0.5, 0.0, 0.0]]
    expected = 0.5 * ((0 - 0.3) + (3 - 2.6) + 7 - 7)  # code - weight/scale inside, the end outside (LSQ, eq. 3)
    assert scale.grad.item() == pytest.approx(expected, abs=1e-6)


def test_gradients_of_attention_are_those_of_the_real_expression():
    model = quantised(SHAPES["two-heads"], WIDTHS["8-bit"])
    plan, heads = model.plan().attention["0.context"], 2
    low, high = code_range(8)
    kept = model.trace(windows(model.config))
    leaves = [kept[f"0.{name}"].double() for name in "qkv"] + [plan.ratio.detach(), plan.score_scale.detach()]
    upstream = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(2)).double()

    def gradients(function):
        inputs = [t.clone().requires_grad_() for t in leaves]
        y = function(*inputs)
        y.backward(upstream.to(y.dtype))
        return [y.detach().double(), *(t.grad for t in inputs)]

    def real(q, k, v, ratio, scale):
        q, k, v = (split_heads(t, heads) for t in (q, k, v))
        scores = _saturated(q @ k.transpose(-1, -2) * ratio, low, high)
        exact = plan.table[(scores.amax(-1, keepdim=True) - scores).detach().long()]
        p = _straight_through(exact / exact.sum(-1, keepdim=True), (scores * scale).softmax(-1))
        return merge_heads(_saturated(p @ v * 2.0**plan.context_gain, low, high))

    def tested(q, k, v, ratio, scale):
        return AttentionCodes.apply(
            q.float(), k.float(), v.float(), ratio, scale, plan, heads, (low, high), (low, high)
        )[0]

    expected, found = gradients(real), gradients(tested)
    # The rounded multiplier lets a near tie fall to the other side.
    assert (expected[0] != found[0]).double().mean() < 1e-2
    for name, a, b in zip(("q", "k", "v", "ratio", "scale"), expected[1:], found[1:], strict=True):
        # The real softmax and the tabulated one differ by half a step of the table.
        assert (a - b).norm() < 0.03 * a.norm(), name


def test_gradients_of_a_layer_norm_are_those_of_the_real_expression():
    plan, low, high = LayerNormPlan(3, 5, 1 << 13, 14), -128, 127
    x = torch.randint(-60, 60, (4, 5, 16), generator=torch.Generator().manual_seed(1)).double()
    x[0, 0] = 7.0  # equal features and nearly equal ones: below the limit of the root
    x[0, 1] = torch.tensor([1.0] + [0.0] * 15)
    x[1, 1, 0] = 127.0
    x[1, 1, 1:] = -20.0  # saturates: 3.87 standard deviations are 123.9, of a few features less
    x[1, 2, 1:] = torch.linspace(-3, 3, 15).round()
    x[1, 2, 0] = 120.0
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    low, high = -64, 63  # a tensor of 7 bits, so that codes saturate

    def gradients(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(upstream.to(y.dtype))
        return y.detach().double(), leaf.grad

    def real(x):
        acc = 16 * x - x.sum(-1, keepdim=True)
        variance = 16 * (x * x).sum(-1, keepdim=True) - x.sum(-1, keepdim=True) ** 2
        limited = variance.clamp_min(49.0)  # the root of which is 7, with a gradient of 0 below
        return _saturated(acc * 2.0**plan.gain / limited.sqrt(), low, high)

    expected, found = gradients(real), gradients(lambda x: LayerNormCodes.apply(x.float(), plan, low, high))
    assert 0.005 < (expected[0].abs() >= 63).double().mean() < 0.5
    assert (expected[0] - found[0]).abs().max() <= 1
    # The whole root and the reciprocal of few bits are off by up to 1 %; where a code of one is at the end, the other's may not be.
    same = (expected[0] == found[0]).all(-1)
    assert same.double().mean() > 0.2 and same[0, 0] and same[0, 1]
    a, b = expected[1][same], found[1][same]
    assert (a - b).norm() < 0.01 * a.norm()
    assert torch.allclose(found[1][0, 1], expected[1][0, 1], rtol=1e-5)  # the limit holds the root: exact


def test_a_layer_norm_passes_no_gradient_along_its_input_and_along_a_constant():
    """Moving or scaling all features of a token changes nothing, so the gradient is orthogonal to both directions."""
    plan = LayerNormPlan(3, 5, 1 << 13, 14)
    x = torch.randint(-60, 60, (50, 1, 16), generator=torch.Generator().manual_seed(3)).float().requires_grad_()
    LayerNormCodes.apply(x, plan, -128, 127).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(4)))
    assert x.grad.sum(-1).abs().max() < 1e-4
    along = (x.grad * (x - x.mean(-1, keepdim=True))).sum(-1).abs()
    assert (along < 0.02 * (x.grad.norm(dim=-1) * x.norm(dim=-1))).all()  # the whole root is up to 1 / 100 too small


def test_the_gradient_of_a_scale_is_that_of_lsq():
    value = torch.tensor([[0.3, 2.6, 40.0, -40.0]])
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (QuantiseInput.apply(value, scale, -8, 7) * scale).sum().backward()
    expected = (0 - 0.3) + (3 - 2.6) + 7 - 8  # code - value/scale inside, the end outside (LSQ, eq. 3)
    assert scale.grad.item() == pytest.approx(expected, abs=1e-6)
