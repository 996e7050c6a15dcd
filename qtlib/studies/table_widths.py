"""How wide must be what softmax and LayerNorm look up: their errors at every width, and the widths that two rules would choose.

Every function returns a row for each width tried: ``study``, ``bits`` of the body, whose ``codes`` were used, the ``width``, whether it is
the ``chosen`` one, and the ``largest`` and ``mean`` error in codes of the result, before it is rounded (`table_precision`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from qtlib.config import BITS, QuantConfig
from qtlib.program import reference
from qtlib.program.codes import Codes, Tensor, code_range
from qtlib.program.program import Program
from qtlib.program.rounding import RECIPROCAL_BITS, norm_reciprocal_bits
from qtlib.studies import table_precision
from qtlib.studies.table_precision import Reals
from qtlib.training.calibration import calibrate, calibrate_gain
from qtlib.training.encoder import Encoder

EXPONENTIALS = range(2, 11)  # bits tried; more than those of `BITS` are not legal and only shown
PRECISIONS = range(9, 19)  # bits of a reciprocal less one
LIMITS = range(1, 12)  # e, of the lower limit of the root
TOKENS = 256  # the most that a configuration may have


def exponentials(programs: Mapping[int, Program], x: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Errors of the context of the first layer by the bits of the exponentials, on trained and on random codes.

    Args:
        programs: by the bits of their body.
        x: [N, n, m] scaled windows.
        rng: draws the random codes.
    """
    rows = []
    for bits, program in programs.items():
        own, tensors = _scores_and_v(program, x), program.tensors
        scale, factor = tensors["0.scores"].scale[0], tensors["0.v"].scale[0] / tensors["0.context"].scale[0]
        drawn = [_drawn(rng, bits, codes) for codes in own]
        for source, (scores, v) in (("trained", own), ("random", drawn)):
            exact = table_precision.exact_context(scores, v, scale=scale, factor=factor)
            for width in EXPONENTIALS:
                found = table_precision.context(scores, v, scale=scale, factor=factor, bits=width)
                chosen = tensors["0.exponentials"].bits
                rows.append(_row("exponentials", bits, source, width, chosen, found, exact))
    return pd.DataFrame(rows)


def reciprocals(program: Program, x: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Errors of the context by the bits of the reciprocal of a row sum, against one of 37 bits.

    On trained codes; on random ones of 256 tokens; and on the hardest: nearly even scores and the largest values.

    Args:
        program: one width for the whole body.
        x: [N, n, m] scaled windows.
        rng: draws the random codes.
    """
    own, scale = _scores_and_v(program, x), program.tensors["0.scores"].scale[0]
    bits, width = program.tensors["0.v"].bits, own[1].shape[-1]
    many, values = (4, 1, TOKENS, TOKENS), (4, TOKENS, width)
    random = (
        rng.integers(*code_range(bits), many, endpoint=True),
        rng.integers(*code_range(bits), values, endpoint=True),
    )
    cases = {
        f"trained, {own[1].shape[1]} tokens": own,
        f"random, {TOKENS} tokens": random,
        f"hardest, {TOKENS} tokens": (rng.integers(0, 2, many), np.full(values, code_range(bits).low)),
    }
    rows = []
    for source, (scores, v) in cases.items():
        exact = table_precision.context(scores, v, scale=scale, bits=bits, precision=36)
        for precision in PRECISIONS:
            found = table_precision.context(scores, v, scale=scale, bits=bits, precision=precision)
            rows.append(_row("reciprocal", bits, source, precision + 1, RECIPROCAL_BITS + 1, found, exact))
    return pd.DataFrame(rows)


class NormCases(NamedTuple):
    """Sums that a LayerNorm reads, real and as codes of every width, and the scale of what it writes."""

    sums: Reals  # [2 N, n, d]
    coded: dict[int, Codes]  # by width
    factors: dict[int, float]  # codes of the result in one standard deviation, by the bits of the body


@torch.no_grad()
def norm_cases(trained: Encoder, x: np.ndarray, bits: list[int]) -> NormCases:
    """Sums of a float model with a LayerNorm of the same gain and bias in the place of every BatchNorm; its scales are calibrated.

    Args:
        trained: a model of one layer, with BatchNorm.
        x: [N, n, m] scaled windows.
        bits: widths of the body.
    """
    layered = Encoder(dataclasses.replace(trained.config, norm="layer")).eval()
    layered.load_state_dict(trained.state_dict(), strict=False)  # a LayerNorm has no running statistics
    kept = layered.trace(torch.from_numpy(x))
    sums = torch.cat([kept["0.attention_sum"], kept["0.output_sum"]]).double()
    normed = torch.from_numpy(table_precision.exact_norm(sums.numpy(), factor=1.0))
    coded = {}
    for width in BITS:
        tensor = Tensor(name="sum", shape=(), bits=width, scale=(calibrate(sums, width),))
        coded[width] = tensor.codes(sums.numpy())
    return NormCases(sums.numpy(), coded, {b: 2.0 ** calibrate_gain(normed, 1.0, b) for b in bits})


def norm_sums(cases: NormCases, rng: np.random.Generator) -> pd.DataFrame:
    """Errors of LayerNorm by the bits of the sums that it reads: of what it computes, and with the rounding of the sums in it."""
    chosen, rows = QuantConfig().norm_bits, []
    for width, own in cases.coded.items():
        e, drawn = norm_reciprocal_bits(own.shape[-1], width), _drawn(rng, width, own)
        for bits, factor in cases.factors.items():
            for source, codes in (("trained", own), ("random", drawn)):
                found = table_precision.norm(codes, factor=factor, reciprocal_bits=e)
                exact = table_precision.exact_norm(codes, factor=factor)
                rows.append(_row("norm_bits", bits, source, width, chosen, found, exact))
            found = table_precision.norm(own, factor=factor, reciprocal_bits=e)
            real = table_precision.exact_norm(cases.sums, factor=factor)
            rows.append(_row("norm_bits, against the sums themselves", bits, "trained", width, chosen, found, real))
    return pd.DataFrame(rows)


def norm_reciprocals(cases: NormCases, rng: np.random.Generator) -> pd.DataFrame:
    """Errors of LayerNorm in the widest body by the bits of the reciprocal of the root, and by e, which limits the root from below."""
    chosen, bits, rows = QuantConfig().norm_bits, max(cases.factors), []
    own, factor = cases.coded[chosen], cases.factors[bits]
    e = norm_reciprocal_bits(own.shape[-1], chosen)
    for source, codes in (("trained", own), ("random", _drawn(rng, chosen, own))):
        exact = table_precision.exact_norm(codes, factor=factor)
        for precision in PRECISIONS:
            found = table_precision.norm(codes, factor=factor, reciprocal_bits=e, precision=precision)
            rows.append(_row("reciprocal of the root", bits, source, precision + 1, RECIPROCAL_BITS + 1, found, exact))
        for other in LIMITS:
            found = table_precision.norm(codes, factor=factor, reciprocal_bits=other)
            rows.append(_row("limit of the root", bits, source, other, e, found, exact))
    return pd.DataFrame(rows)


def rules(errors: pd.DataFrame) -> pd.DataFrame:
    """Smallest widths whose largest error is below half a code, or whose mean error is below a quarter, beside the chosen ones."""
    keys = ["study", "bits", "codes"]
    groups = errors.groupby(keys, sort=False)
    table = pd.DataFrame(
        {
            "largest below 0.5": groups.apply(smallest, "largest", 0.5),
            "mean below 0.25": groups.apply(smallest, "mean", 0.25),
        }
    )
    chosen = errors[errors.chosen].set_index(keys)[["width", "largest", "mean"]]
    return table.join(chosen.rename(columns={"width": "chosen"}))


def smallest(part: pd.DataFrame, column: str, limit: float) -> str:
    """The smallest width whose error is below a limit, as text."""
    fits = part.width[part[column] < limit]
    return str(fits.min()) if len(fits) else f"above {part.width.max()}"


def _row(study: str, bits: int, source: str, width: int, chosen: int, found: Reals, exact: Reals) -> dict[str, Any]:
    off = table_precision.error(found, exact, bits)._asdict()
    return {"study": study, "bits": bits, "codes": source, "width": width, "chosen": width == chosen, **off}


def _scores_and_v(program: Program, x: np.ndarray) -> tuple[Codes, Codes]:
    traced = reference.trace(program, program.input.codes(x))
    return traced["0.scores"], traced["0.v"]


def _drawn(rng: np.random.Generator, bits: int, like: Codes) -> Codes:
    return rng.integers(*code_range(bits), like.shape, endpoint=True)
