"""Every entity of hdl/rtl equals its Python twin, clock by clock, at full speed and with random pauses."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hdl import entity_bench as bench
from hdl import entity_twins as twins
from qtlib.config import HardwareConfig, ModelConfig, QuantConfig
from qtlib.hardware import weight_packing
from qtlib.hardware.clock_timeline import issued
from qtlib.hardware.engine_schedule import schedule
from qtlib.program import reference
from qtlib.program.codes import Range, code_range
from qtlib.program.rounding import norm_reciprocal_bits
from qtlib.toolchain import design_directory, external_tools
from qtlib.toolchain.input_stimuli import stimuli
from qtlib.training import random_models

pytestmark = pytest.mark.needs_ghdl
paces = pytest.mark.parametrize("pace", [1.0, 0.5], ids=["full-speed", "paused"])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return bench.analyse(tmp_path_factory.mktemp("library"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("entity", sorted(set(design_directory.RTL) - {"qt_pkg", "engine"}))
def test_no_entity_is_without_a_twin(entity):
    # The package holds types and list functions; test_engine.py compares the engine with the reference.
    assert any(name.startswith(f"test_{entity}") for name in globals())


@pytest.mark.parametrize("memory_type", ["auto", "block", "distributed"])
@pytest.mark.parametrize("depth", [1, 2, 5, 32])
def test_ram(work, rng, depth, memory_type):
    clocks = [
        {
            "write_valid": rng.integers(2),
            "write_address": rng.integers(depth),
            "write_data": rng.integers(2**9),
            "read_address": rng.integers(depth),
        }
        for _ in range(200)
    ]
    bench.run(work, "ram", {"width": 9, "depth": depth, "memory_type": memory_type}, twins.ram(clocks))


@pytest.mark.parametrize("entity", ["ram", "rom"])
def test_an_unknown_memory_type_stops_the_simulation(work, entity):
    generics = {"width": 9, "depth": 2, "memory_type": "registers"} | (
        {"contents": ["0" * 9] * 2} if entity == "rom" else {}
    )
    with pytest.raises(
        external_tools.ToolError, match=f'{entity}: memory_type "registers" is not one of auto, block, distributed'
    ):
        bench.run(work, entity, generics, [{}])


@pytest.mark.parametrize("depth", [1, 3, 16])
def test_rom(work, rng, depth):
    contents = [int(word) for word in rng.integers(2**40, size=depth)]
    clocks = twins.rom([{"read_address": rng.integers(depth)} for _ in range(50)], contents)
    words = [f"{word:040b}" for word in contents]
    bench.run(work, "rom", {"width": 40, "depth": depth, "contents": words, "memory_type": "auto"}, clocks)


@pytest.mark.parametrize(
    ("unroll", "packings", "segments", "blocks"),
    [
        (1, {7: 1}, [5], 0),
        (1, {7: 3}, [8, 2, 1], 1),
        (2, {4: 9}, [16, 4], 2),
        (3, {4: 2}, [4, 4], 0),
        (2, {3: 6, 6: 3, 8: 2}, [8, 3], 1),
    ],
)
def test_weight_store(work, rng, unroll, packings, segments, blocks):
    depth, word_bits = sum(segments), max(unroll * bits * weights for bits, weights in packings.items())
    contents = [int.from_bytes(rng.bytes(16)) % 2**word_bits for _ in range(depth)]
    counts = list(packings.values())
    clocks = [
        {"read_address": int(rng.integers(depth)), "read_packing": int(rng.integers(len(packings)))} for _ in range(80)
    ]
    for clock in clocks:
        clock["read_place"] = int(rng.integers(counts[clock["read_packing"]]))
    generics = {"unroll": unroll, "weight_bits": max(packings), "word_bits": word_bits}
    generics |= {"packing_bits": list(packings), "packing_weights": counts}
    clocks = twins.weight_store(clocks, contents, generics)
    generics |= {"depth": depth, "contents": [f"{word:0{word_bits}b}" for word in contents]}
    generics |= {"segment_depths": segments, "block_segments": blocks, "memory_type": "auto"}
    bench.run(work, "weight_store", generics, clocks)


X_SOURCES, W_SOURCES = bench.ENUMERATIONS["x_source_t"], bench.ENUMERATIONS["w_source_t"]


@pytest.mark.parametrize("depths", [(1, 2, 3, 5, 7, 9), (40, 64, 33, 50, 2, 1)], ids=str)
def test_operand_addresses(work, rng, depths):
    words = dict(zip(("input", "activation", "exponential", "weight", "head", "broadcast"), depths, strict=True))
    of = {"input_store": "input", "activation_store": "activation", "exponential_store": "exponential"}
    of |= {"weight_rom": "weight", "head_rom": "head", "keys": "broadcast", "values_t": "broadcast", "centre": "weight"}
    clocks = [
        {
            "valid": valid,
            "x_source": x_source,
            "x_address": int(rng.integers(words[of[x_source]])),
            "w_source": w_source,
            "w_address": int(rng.integers(words[of[w_source]])),
            "stream_valid": stream_valid,
            "stream_address": int(rng.integers(words["broadcast"])),
        }
        for valid, x_source, w_source, stream_valid in itertools.product((0, 1, 1, 1), X_SOURCES, W_SOURCES, (0, 1, 0))
    ]
    generics = {"address_width": 8} | {f"{store}_depth": depth for store, depth in words.items()}
    bench.run(work, "operand_addresses", generics, twins.operand_addresses(clocks))


@paces
@pytest.mark.parametrize(("lane_count", "unroll", "depths"), [(1, 1, (1, 2)), (4, 2, (7, 1)), (5, 3, (8, 3))])
def test_activation_stores(work, rng, lane_count, unroll, depths, pace):
    generics = {"lane_count": lane_count, "unroll": unroll, "activation_bits": 3, "broadcast_bits": 7}
    sizes = dict(zip(("activation", "broadcast"), depths, strict=True))
    generics |= {f"{store}_depth": depth for store, depth in sizes.items()}
    clocks = [{"write_bank": int(rng.integers(unroll))} for _ in range(300)]
    for clock, (store, depth) in itertools.product(clocks, sizes.items()):
        clock[f"{store}_valid"] = int(rng.random() < pace)
        clock[f"{store}_write"], clock[f"{store}_address"] = rng.integers(depth, size=2).tolist()
        clock[f"{store}_data"] = int.from_bytes(rng.bytes(8)) % 2 ** (lane_count * generics[f"{store}_bits"])
    filled = twins.activation_stores(clocks, generics)
    assert sum("-" not in clock["broadcast_words"] for clock in filled) > 100
    generics |= {"activation_memory": "auto", "broadcast_memory": "distributed"}
    bench.run(work, "activation_stores", generics, filled)


@paces
@pytest.mark.parametrize(
    ("lane_count", "unroll", "norm_features"),
    [(1, 1, 0), (4, 2, 5), (6, 3, 16), (5, 1, 0), (8, 8, 20), (9, 3, 0), (3, 3, 3)],
)
def test_operand_select(work, rng, lane_count, unroll, norm_features, pace):
    """At full speed another source in every clock; paused, also resets, after which nothing may be valid."""
    generics = {"lane_count": lane_count, "unroll": unroll, "norm_features": norm_features}
    generics |= {"input_bits": 5, "activation_bits": 4, "exponential_bits": 6, "broadcast_bits": 7, "key_bits": 4}
    generics |= {"weight_bits": 5, "head_bits": 3, "x_bits": 7, "w_bits": 6}
    sizes = {"input_word": lane_count, "exponential_word": lane_count, "weight_word": unroll, "head_word": unroll}
    sizes |= {"activation_words": (unroll, lane_count), "broadcast_words": (unroll, lane_count)}
    sources = W_SOURCES[: 5 if norm_features else 4]
    clocks = []
    for number in range(400):
        source = sources[number % len(sources)] if pace == 1 else str(rng.choice(sources))
        lanes = range(0, lane_count, unroll) if source == "keys" else range(lane_count)
        clock = {"in_valid": int(rng.random() < pace), "w_source": source, "w_lane": int(rng.choice(lanes))}
        clock |= {"rst": int(rng.random() > pace + 0.4), "x_source": X_SOURCES[int(rng.integers(3))]}
        clock |= {"x_bank": int(rng.integers(unroll))}
        clock |= {name: int(rng.integers(2)) for name in ("in_first", "in_last", "diagonal")}
        for name, shape in sizes.items():
            low, high = code_range(generics[f"{name.split('_')[0]}_bits"], signed=name != "exponential_word")
            clock[name] = rng.integers(low, high + 1, shape)
        clocks.append(clock)
    bench.run(work, "operand_select", generics, twins.operand_select(clocks, generics))


def mac_generics(x, w, operands, terms, multiplier):
    """Widths that the schedule would prove for operands of these ranges."""
    corners = [a * b for a in x for b in w]
    product = Range(min(corners), max(corners))
    packed = sum(1 << (k * product.bits) for k in range(operands))
    return {
        "operands": operands,
        "x_bits": x.bits,
        "w_bits": w.bits,
        "product_bits": product.bits,
        "packed_bits": max(Range(x.low * packed, x.high * packed).bits, x.bits),
        "acc_bits": Range(terms * min(product.low, 0), terms * max(product.high, 0)).bits,
        "multiplier": multiplier,
    }


@pytest.mark.parametrize("multiplier", ["dsp", "lut", "packed"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_mac_at_all_corners_of_the_operands(work, rng, bits, multiplier):
    top = code_range(bits).high
    x, w = (
        Range(-top - 1, 2 * top + 1),
        Range(-top - 1, top),
    )  # signed codes and unsigned exponentials; weights and K, V
    operands = {"packed": 3 if bits == 2 else 2}.get(multiplier, 1)
    generics = mac_generics(x, w, operands, 4, multiplier.replace("packed", "dsp"))
    lane = (x.low, x.low + 1, -1, 0, 1, top, x.high)
    corners = [
        (list(xs), v) for xs in itertools.product(lane, repeat=operands) for v in (w.low, -top, -1, 0, 1, w.high)
    ]
    rng.shuffle(corners)
    clocks = [
        {"valid": 1, "first": int(n % 4 == 0), "x": xs, "w": v}
        for n, (xs, v) in enumerate([([x.low] * operands, w.low)] * 4 + [([x.high] * operands, w.high)] * 4 + corners)
    ]
    bench.run(work, "mac", generics, twins.mac(clocks, x.bits, generics["acc_bits"]))


def test_mac_packs_products_of_a_layer_norm_that_are_a_power_of_two(work, rng):
    """-128 * 4 in both fields: the upper one is one less before it is repaired, and needs the bit for it."""
    x, w = code_range(8), Range(-1, 4)
    program = random_models.program(ModelConfig(window=2, d_model=5, norm="layer"), QuantConfig(bits=2))
    widths = schedule(program, HardwareConfig(multiplier="packed")).widths
    generics = mac_generics(x, w, 2, 4, "dsp") | {name: widths[name] for name in ("product_bits", "packed_bits")}
    clocks = [
        {"valid": 1, "first": int(n % 4 == 0), "x": list(xs), "w": v}
        for n, (xs, v) in enumerate(itertools.product(itertools.product((-128, -127, -1, 0, 127), repeat=2), (-1, 4)))
    ]
    bench.run(work, "mac", generics, twins.mac(clocks, x.bits, generics["acc_bits"]))


@paces
@pytest.mark.parametrize(("multiplier", "operands"), [("dsp", 1), ("dsp", 2), ("lut", 1), ("lut", 2)])
def test_mac(work, rng, multiplier, operands, pace):
    x, w = code_range(6), code_range(5)
    generics = mac_generics(x, w, operands, 300, multiplier)
    clocks = [
        {
            "valid": int(rng.random() < pace),
            "first": int(n == 0 or rng.random() < 0.1),
            "x": rng.integers(x.low, x.high + 1, operands).tolist(),
            "w": int(rng.integers(w.low, w.high + 1)),
        }
        for n in range(300)
    ]
    clocks[0]["valid"] = 1
    bench.run(work, "mac", generics, twins.mac(clocks, x.bits, generics["acc_bits"]))


def test_mac_refuses_an_unknown_multiplier(work):
    generics = mac_generics(code_range(4), code_range(4), 1, 4, "booth")
    with pytest.raises(external_tools.ToolError, match='mac: multiplier "booth" is not one of dsp, lut'):
        bench.run(work, "mac", generics, [{}])


@paces
@pytest.mark.parametrize(
    ("lane_count", "unroll", "requantisers", "operands", "dsp_macs"),
    [(1, 1, 1, 1, 0), (4, 2, 2, 1, 5), (5, 1, 5, 2, 9), (6, 3, 1, 2, 2), (3, 3, 3, 3, 9)],
)
def test_lanes(work, rng, lane_count, unroll, requantisers, operands, dsp_macs, pace):
    x, w = code_range(4), code_range(3)
    generics = mac_generics(x, w, operands, 12, "") | {
        "lane_count": lane_count,
        "unroll": unroll,
        "requantisers": requantisers,
        "dsp_macs": dsp_macs,
    }
    del generics["multiplier"]
    slots = unroll * lane_count // requantisers
    clocks = []
    for _ in range(12):
        inner = int(rng.integers(1, 12))
        valids = [] if pace == 1 else [0] * int(rng.integers(3))
        for _ in range(inner):
            valids += [1] if pace == 1 else [*[0] * int(rng.integers(3)), 1]
        valids += [0] * max(0, slots - inner)
        term = 0
        for valid in valids:
            clocks.append({"valid": valid, "first": int(term == 0), "last": int(term == inner - 1)})
            term += valid
    for clock in clocks:
        clock["x"] = rng.integers(x.low, x.high + 1, lane_count).tolist()
        clock["w"] = rng.integers(w.low, w.high + 1, unroll).tolist()
        clock["advance"] = int(rng.random() < 0.7) if pace < 1 else 0
    if pace == 1:  # as retire.vhd does it: from the capture on, as many clocks as there are slots
        for number, clock in enumerate(clocks):
            if clock["valid"] and clock["last"]:
                for slot in clocks[number + 4 : number + 4 + slots]:
                    slot["advance"] = 1
    filled = twins.lanes(clocks, generics)
    assert sum(clock["captured"] for clock in filled) >= 10
    bench.run(work, "lanes", generics, filled)


@pytest.mark.parametrize("widths", [(8,), (2, 5, 8)], ids=str)
@pytest.mark.parametrize("shifts", [(4,), (8, 12, 24)], ids=str)
def test_requantise_rounds_half_up_and_saturates(work, rng, shifts, widths):
    residual_shifts = (0, 4)
    acc, mult, residual, residual_mult = (code_range(bits) for bits in (15, 12, 8, 10))
    clocks, ties, cut = [], 0, 0
    for _ in range(600):
        shift, width = rng.integers(len(shifts)), rng.integers(len(widths))
        clock = {
            "acc": int(rng.integers(acc.low, acc.high + 1) >> rng.integers(14)),
            "mult": int(rng.integers(mult.low, mult.high + 1) >> rng.integers(11)),
            "residual": int(rng.integers(residual.low, residual.high + 1)),
            "residual_mult": int(rng.integers(residual_mult.low, residual_mult.high + 1) >> rng.integers(10)),
            "shift": int(shift),
            "residual_shift": int(rng.integers(2)),
            "width": int(width),
        }
        scaled = clock["acc"] * clock["mult"]
        scaled += clock["residual"] * clock["residual_mult"] << residual_shifts[clock["residual_shift"]]
        # Aim at a random code or at the limits: exactly at the tie (the half is in the offset), one below or above it.
        whole, limit = 1 << shifts[shift], 1 << (widths[width] - 1)
        near = int(rng.choice([rng.integers(-limit, limit), -limit, limit]))
        clock["offset"] = near * whole - scaled + int(rng.integers(-1, 2))
        total = scaled + clock["offset"]
        ties += total % whole == 0
        cut += not -limit <= total >> shifts[shift] < limit
        clocks.append(clock)
    assert ties > 100 and cut > 50
    offsets = [clock["offset"] for clock in clocks]
    product = acc.low * mult.low + (residual.low * residual_mult.low << 4)
    generics = {
        "acc_bits": acc.bits,
        "mult_bits": mult.bits,
        "residual_bits": residual.bits,
        "residual_mult_bits": residual_mult.bits,
        "offset_bits": Range(min(offsets), max(offsets)).bits,
        "sum_bits": Range(-product + min(offsets), product + max(offsets)).bits,
        "code_bits": max(widths),
        "shifts": shifts,
        "residual_shifts": residual_shifts,
        "widths": widths,
    }
    bench.run(work, "requantise", generics, twins.requantise(clocks, generics))


@paces
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_divider(work, rng, bits, pace):
    low, high = 2**bits - 1, 24 * (2**bits - 1)
    totals = [low, high, low + 1, high - 1, 1 << bits]
    clocks = []
    for number in range(600):
        total = totals[number // 19 % 5] if number < 200 else int(rng.integers(low, high + 1))
        clocks.append({"in_valid": int(rng.random() < pace), "total": total})
    generics = {"exponential_bits": bits, "total_bits": high.bit_length()}
    cut = [dict(clock) for clock in clocks[:40]]
    bench.run(work, "divider", generics, twins.divider(cut, bits), twins.divider(clocks, bits))


@paces
@pytest.mark.parametrize(
    ("keys", "padded_keys", "groups", "parts", "width"),
    [(24, 24, 1, 2, 2), (5, 6, 2, 3, 1), (19, 20, 3, 1, 4), (1, 1, 1, 1, 1)],
)
def test_softmax(work, rng, keys, padded_keys, groups, parts, width, pace):
    score_bits, exponential_bits, slices = 4, 5, groups * parts
    tables = np.sort(rng.integers(0, 32, (2, 16)), axis=1)[:, ::-1]
    tables[:, 0] = 31
    generics = {
        "keys": keys,
        "padded_keys": padded_keys,
        "groups": groups,
        "parts": parts,
        "width": width,
        "score_bits": score_bits,
        "exponential_bits": exponential_bits,
        "total_bits": (keys * 31).bit_length(),
        "table_count": 2,
        "tables": [f"{code:05b}" for code in tables.ravel()],
        "score_memory": "auto",
        "table_memory": "auto",
    }
    clocks, starts = [], {}
    for table in (0, 1, 1):
        scores = rng.integers(-8, 8, (slices, width, padded_keys))
        scores[0, 0] = -8  # a row whose maximum is the smallest code
        scores[-1, -1, keys - 1] = 7  # a maximum that comes last
        order = [(key, index) for key in range(padded_keys) for index in range(slices)]
        for number, (key, index) in enumerate(order):
            while rng.random() >= pace:
                clocks.append({"score_valid": 0, "start": 0})
            last = number == len(order) - 1
            word = twins.pack(scores[index, :, key], score_bits)
            clocks.append({"score_valid": 1, "score_key": key, "score_slice": index, "score_data": word, "start": last})
            clocks[-1]["start_table"] = table
        starts[len(clocks) - 1] = scores[:, :, :keys], tables[table]
        clocks += [{"score_valid": 0, "start": 0} for _ in range(slices * max(keys, 18) + 30)]
    bench.run(work, "softmax", generics, twins.softmax(clocks, starts, generics))


@paces
@pytest.mark.parametrize(
    ("features", "bits", "slices", "width"),
    [
        (16, 8, 8, 1),
        (7, 8, 3, 2),
        (1, 2, 1, 1),
        (128, 8, 2, 2),
        (127, 5, 1, 1),
        (12, 3, 5, 3),
        (2, 2, 2, 1),
        (3, 8, 1, 4),
    ],
)
def test_layer_norm(work, rng, features, bits, slices, width, pace):
    e = norm_reciprocal_bits(features, bits)
    generics = {
        "features": features,
        "slices": slices,
        "width": width,
        "bits": bits,
        "reciprocal_bits": e,
        "table_memory": "auto",
    }
    low, high = code_range(bits)
    clocks, starts, limited = [], {}, 0
    for draw in range(4):
        codes = rng.integers(low, high + 1, (slices, width, features))
        codes[-1, -1, : features // 2] = low  # both ends, half and half: the largest root
        codes[-1, -1, features // 2 :] = high
        if draw < 2 or slices * width > 1:
            codes[0, 0] = (low, 0, high, rng.integers(low, high + 1))[draw]  # all features equal: the root is 0
        if draw % 2:
            codes = -1 - codes
        limited += int((twins.reciprocals_of(codes, e) == 2 ** (e + 16) // (2**e - 1)).sum())
        # As it retires: feature after feature, in each all slices.
        order = [(feature, index) for feature in range(features) for index in range(slices)]
        for number, (feature, index) in enumerate(order):
            while rng.random() >= pace:
                clocks.append({"sum_valid": 0, "start": 0})
            word = twins.pack(codes[index, :, feature], bits)
            last = number == len(order) - 1
            clocks.append(
                {"sum_valid": 1, "sum_first": feature == 0, "sum_slice": index, "sum_data": word, "start": last}
            )
        starts[len(clocks) - 1] = codes
        clocks += [{"sum_valid": 0, "start": 0} for _ in range(18 * slices + 60)]
    assert limited >= 2
    whole = twins.layer_norm(clocks, starts, generics)
    cut = [dict(clock) for clock in whole[: min(starts) + 40]]  # the reset comes amid the square root
    bench.run(work, "layer_norm", generics, cut, whole)


@paces
@pytest.mark.parametrize(("slices", "width", "depth"), [(1, 3, 5), (4, 5, 16), (3, 40, 1)])
def test_exponential_store(work, rng, slices, width, depth, pace):
    clocks = [
        {
            "write_valid": int(rng.random() < pace),
            "write_slice": int(rng.integers(slices)),
            "write_address": int(rng.integers(depth)),
            "write_data": int(rng.integers(2**width)),
            "read_address": int(rng.integers(depth)),
        }
        for _ in range(400)
    ]
    generics = {"slices": slices, "width": width, "depth": depth}
    filled = twins.exponential_store(clocks, generics)
    assert sum("-" not in clock["read_data"] for clock in filled) > 100
    bench.run(work, "exponential_store", generics | {"memory_type": "auto"}, filled)


@paces
@pytest.mark.parametrize("normed", [False, True], ids=["batch", "layer"])
@pytest.mark.parametrize(("slices", "width"), [(1, 1), (5, 2)])
def test_reciprocal_store(work, rng, slices, width, normed, pace):
    """One writer at a time; without a LayerNorm its ports may hold anything."""
    clocks = []
    for _ in range(300):
        writer = rng.choice(["softmax", "norm"]) if rng.random() < pace else None
        clock = {"read_address": int(rng.integers(slices))}
        for name in ("softmax", "norm"):
            clock[f"{name}_valid"] = int(name == writer)
            clock[f"{name}_slice"] = int(rng.integers(slices))
            clock[f"{name}_data"] = int(rng.integers(2 ** (17 * width)))
        clocks.append(clock)
    generics = {"slices": slices, "width": width, "normed": normed}
    filled = twins.reciprocal_store(clocks, generics)
    assert sum("read_data" in clock for clock in filled) > 200
    bench.run(work, "reciprocal_store", generics | {"memory_type": "auto"}, filled)


@paces
@pytest.mark.parametrize(
    ("keys", "padded_keys", "groups", "parts", "width", "norm_features"),
    # Powers of two as words of exponentials, because during a reset any address is read.
    [(8, 8, 1, 3, 2, 0), (4, 6, 2, 2, 1, 7), (32, 33, 1, 1, 3, 24), (1, 1, 1, 1, 1, 2)],
)
def test_row_statistics(work, rng, keys, padded_keys, groups, parts, width, norm_features, pace):
    """Scores of a head and codes of a LayerNorm, one after the other, while both stores are read."""
    slices, score_bits, bits = groups * parts, 4, 6
    tables = np.sort(rng.integers(0, 32, (2, 16)), axis=1)[:, ::-1]
    tables[:, 0] = 31
    generics = {"keys": keys, "padded_keys": padded_keys, "groups": groups, "parts": parts, "width": width}
    generics |= {"key_width": bench.address_bits(max(padded_keys, norm_features)), "score_bits": score_bits}
    generics |= {"exponential_bits": 5, "total_bits": (keys * 31).bit_length(), "norm_features": norm_features}
    generics |= {"norm_bits": bits, "norm_reciprocal_bits": norm_reciprocal_bits(max(norm_features, 1), bits)}
    clocks, softmax_starts, norm_starts = [], {}, {}

    def idle(count):
        clocks.extend({"score_valid": 0, "sum_valid": 0} for _ in range(count))

    def send(kind, codes, code_bits, table=0):
        """Codes [slice, row, key] as they retire: key after key, in each all slices."""
        last = codes.shape[-1] * slices - 1
        for number, (key, index) in enumerate(np.ndindex(codes.shape[-1], slices)):
            idle(0 if pace == 1 else int(rng.integers(3)))
            idle(1)
            clocks[-1] |= {"score_key": key, "score_slice": index, "score_table": table}
            clocks[-1] |= {f"{kind}_valid": 1, f"{kind}_last": int(number == last)}
            clocks[-1][f"{kind}_data"] = twins.pack(codes[index, :, key], code_bits)
        return len(clocks) - 1

    for table in (1, 0):
        scores = rng.integers(-8, 8, (slices, width, padded_keys))
        softmax_starts[send("score", scores, score_bits, table)] = scores[:, :, :keys], tables[table]
        idle(slices * max(keys, 18) + 60)
        if norm_features:
            codes = rng.integers(-32, 32, (slices, width, norm_features))
            norm_starts[send("sum", codes, bits)] = codes
            idle(18 * slices + 100)
    for clock in clocks:
        clock["exponential_address"] = int(rng.integers(keys * groups))
        clock["reciprocal_address"] = int(rng.integers(slices))
    filled = twins.row_statistics(clocks, softmax_starts, norm_starts, generics)
    assert sum("-" not in clock["exponential_word"] for clock in filled) > 100
    generics |= {f"{store}_memory": "auto" for store in ("exponential", "reciprocal", "score", "table")}
    generics["exponentials"] = [f"{code:05b}" for code in tables.ravel()]
    bench.run(work, "row_statistics", generics, filled)


@paces
@pytest.mark.parametrize(("window", "features", "lanes"), [(6, 1, 6), (7, 3, 4), (5, 2, 1), (1, 1, 1)])
def test_load(work, rng, window, features, lanes, pace):
    generics = {"window": window, "features": features, "lanes": lanes, "bits": 5}

    def clocks(count):
        return [
            {
                "in_valid": int(rng.random() < pace),
                "in_data": int(rng.integers(-16, 16)),
                "take": 0,
            }
            for _ in range(count)
        ]

    def filled(drawn):
        """Take a window some clocks after it is full, as issue.vhd does, and only then."""
        waits = 0
        for number in range(len(drawn)):
            full = twins.load([dict(c) for c in drawn[: number + 1]], generics)[-1]["full"]
            waits = waits + 1 if full else 0
            drawn[number]["take"] = int(waits > 0 and rng.random() < pace / 2)
            waits = 0 if drawn[number]["take"] else waits
        return twins.load(drawn, generics)

    whole = filled(clocks(250))
    assert sum(clock["take"] for clock in whole) >= 3
    bench.run(work, "load", generics, filled(clocks(window * features // 2 + 1)), whole)


@paces
@pytest.mark.parametrize(("outputs", "padded"), [(1, 1), (3, 4)])
def test_unload(work, rng, outputs, padded, pace):
    clocks = []
    for _ in range(8):
        for index in range(padded):
            write = {"write_valid": 1, "write_address": index, "write_data": int(rng.integers(2**20))}
            clocks.append(write | {"write_last": int(index == padded - 1)})
            clocks += [{"write_valid": 0, "write_last": int(rng.integers(2))} for _ in range(rng.integers(3))]
        clocks += [{"write_valid": 0, "write_last": 0} for _ in range(3 + 12 * outputs)]
    for clock in clocks:
        clock["out_ready"] = int(rng.random() < pace)
    generics = {"outputs": outputs, "padded_outputs": padded, "bits": 20}
    cut = [dict(clock) for clock in clocks[: padded + 2]]
    whole = twins.unload(clocks, outputs)
    assert sum(clock["out_valid"] and clock["out_ready"] for clock in whole) >= 7 * outputs
    bench.run(work, "unload", generics, twins.unload(cut, outputs), whole)


DESIGNS = {
    "wide": (random_models.SHAPES["one-layer"], random_models.WIDTHS["8-bit"], HardwareConfig()),
    "serial": (random_models.SHAPES["two-heads"], random_models.WIDTHS["4-bit"], HardwareConfig(lanes=1)),
    "unrolled": (random_models.SHAPES["one-layer"], random_models.MIXED, HardwareConfig(unroll=3, requantisers=2)),
    "folded": (
        random_models.SHAPES["two-layers-three-outputs"],
        random_models.MIXED,
        HardwareConfig(lanes=4, unroll=2, requantisers=2),
    ),
    "surplus": (
        replace(random_models.SHAPES["two-heads"], d_model=10, outputs=2),
        random_models.MIXED,
        HardwareConfig(lanes=3, unroll=3),
    ),
}
DESIGNS["normed"] = (
    random_models.SHAPES["layer-norm"],
    random_models.WIDTHS["8-bit"],
    HardwareConfig(lanes=3, unroll=3, requantisers=1),
)
DESIGNS["normed-layers"] = (
    random_models.SHAPES["two-layers-layer-norm"],
    random_models.MIXED,
    HardwareConfig(lanes=5, requantisers=5),
)
# Weights in segments and several to a word, of three widths, as designs have them whose weights exceed the block RAM.
SEVERAL = replace(random_models.MIXED, overrides=(("0.q.weight", 3), ("0.v.weight", 7)))
DESIGNS["segments"] = (DESIGNS["surplus"][0], SEVERAL, HardwareConfig(lanes=3, unroll=3))
designs = pytest.mark.parametrize("name", DESIGNS)


@pytest.fixture
def design(work, tmp_path, name, monkeypatch):
    """A schedule whose constants are analysed into the library; gives the generics of one of its entities."""
    shape, quant, hardware = DESIGNS[name]
    if name == "segments":
        monkeypatch.setattr(weight_packing, "ROWS", 2)
        monkeypatch.setattr(design_directory, "allocate", lambda plan: weight_packing.segmented(plan, 9))
    plan = design_directory.emit(random_models.program(shape, quant), hardware, tmp_path)
    (work / "design_pkg.vhd").write_bytes((tmp_path / "design_pkg.vhd").read_bytes())
    external_tools.run("ghdl", ["-a", "--std=08", "design_pkg.vhd"], cwd=work, timeout=600)

    def generics(entity):
        kinds = bench.declared(entity, "generic")
        found = {
            c.name: int(c.value) for c in design_directory._constants(plan) if c.name in kinds and c.value.isdigit()
        }
        return plan, found

    return generics


@paces
@designs
def test_issue(work, rng, design, pace):
    plan, generics = design("issue")
    generics |= {"program": "work.design_pkg.issue_program", "lanes": plan.shape.lanes}
    generics |= {"places": max(p.weights for p in plan.weight_packings), "packings": len(plan.weight_packings)}
    whole = list(issued(plan))
    assert sum(entry.valid for entry in whole) == sum(i.steps * plan.shape.groups * i.inner for i in plan.instructions)
    head = plan.instructions[-1]
    setup = head.start - head.hold - 1
    taken = plan.instructions[0].end(plan.shape.groups)
    clocks = [{"full": 0, "free": 1, "valid": 0, "take": 0}]
    for _ in range(2):
        waits = 0 if pace == 1 else int(rng.integers(1, 9))
        clocks += [{"full": 0, "free": int(rng.integers(2)), "valid": 0, "take": 0} for _ in range(waits)]
        clocks.append({"full": 1, "free": 1, "valid": 0, "take": 0})
        held = 0 if pace == 1 else int(rng.integers(1, 9))
        before, after = whole[: head.start], whole[head.start :]
        for number, entry in enumerate([*before, *[type(entry)(False) for entry in whole[:held]], *after]):
            clock = {"full": int(number <= taken), "free": 1, "take": int(number == taken), "valid": entry.valid}
            if held and number < head.start + held - 1:
                # Results of the window before still wait, exactly until the head may begin.
                clock["free"] = 0 if number >= setup else int(rng.integers(2))
            if entry.valid:
                clock |= entry._asdict()
            clocks.append(clock)
    clocks += [{"full": 0, "free": 1, "valid": 0} for _ in range(3)]
    bench.run(work, "issue", generics, clocks[: len(whole) // 2], clocks)


@paces
@designs
def test_retire(work, rng, design, pace):
    plan, generics = design("retire")
    generics |= {
        "program": "work.design_pkg.retire_program",
        "lanes": plan.shape.lanes,
        "shifts": plan.shifts,
        "residual_shifts": plan.residual_shifts,
        "widths": plan.code_widths,
    }
    groups, unroll = plan.shape.groups, plan.shape.unroll
    padded = [-(-count // unroll) * unroll for count in (plan.shape.window, plan.program.output.shape[0])]
    if plan.norm:
        padded[0] = max(padded[0], -(-plan.program.tensors[plan.norm.x].shape[-1] // unroll) * unroll)
    sizes = (padded[0], groups * plan.shape.slices, padded[1])
    generics |= {
        key: bench.address_bits(size)
        for key, size in zip(("key_width", "slice_width", "output_width"), sizes, strict=True)
    }
    codes = stimuli(plan.program, 2)
    gaps = itertools.repeat(0) if pace == 1 else iter(lambda: int(rng.integers(4)), None)
    segments = [twins.retire(plan, reference.trace(plan.program, codes[k : k + 1]), gaps, rng) for k in range(2)]
    bench.run(work, "retire", generics, segments[0][:50], *segments)
