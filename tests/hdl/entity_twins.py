"""Python twins of the entities in hdl/rtl, clock by clock, for `bench.run`.

A twin takes the inputs of every clock and adds the outputs that belong to it; an output that may be anything is left out.
The arithmetic itself comes from qtlib.program, never from the VHDL.
"""

from itertools import pairwise
from math import isqrt
from types import SimpleNamespace

import numpy as np

from qtlib.hardware.pipeline import root_clocks
from qtlib.hardware.rom_contents import contents, pack
from qtlib.program import reference, rounding
from qtlib.program.codes import Tensor
from qtlib.program.operations import Context, Head, LayerNorm, Scores
from qtlib.program.rounding import reciprocal


def ram(clocks):
    """A word written in one clock is read by an address in the next, and its data follow one clock later."""
    memory, data = {}, None
    for clock in clocks:
        if data is not None:
            clock["read_data"] = data
        data = memory.get(clock["read_address"])
        if clock["write_valid"]:
            memory[clock["write_address"]] = clock["write_data"]
    return clocks


def rom(clocks, contents):
    """Data follow their address by one clock."""
    for before, clock in pairwise(clocks):
        clock["read_data"] = contents[before["read_address"]]
    return clocks


def weight_store(clocks, contents, generics):
    """The weights of one place of a memory word, extended to the widest, one clock after address and place."""
    g = SimpleNamespace(**generics)
    for before, clock in pairwise(clocks):
        bits = g.packing_bits[before["read_packing"]]
        first = before["read_place"] * g.unroll
        codes = [contents[before["read_address"]] >> (first + u) * bits & (1 << bits) - 1 for u in range(g.unroll)]
        clock["read_data"] = pack([code - (code >> (bits - 1) << bits) for code in codes], g.weight_bits)
    return clocks


def operand_addresses(clocks):
    """What is not asked stays at 0; the broadcast store is asked by K and V, or for a residual."""
    for clock in clocks:
        asked = (clock["x_source"], clock["w_source"]) if clock["valid"] else ()
        for name, source, side in (
            ("input", "input_store", "x"),
            ("activation", "activation_store", "x"),
            ("exponential", "exponential_store", "x"),
            ("weight", "weight_rom", "w"),
            ("head", "head_rom", "w"),
        ):
            clock[f"{name}_address"] = clock[f"{side}_address"] if source in asked else 0
        stored = clock["w_address"] if "keys" in asked or "values_t" in asked else 0
        clock["broadcast_address"] = clock["stream_address"] if clock["stream_valid"] else stored
    return clocks


def activation_stores(clocks, generics):
    """Every bank of both stores is a `ram`; all are read, and the one that is named is written."""
    g = SimpleNamespace(**generics)
    for store, bits in (("activation", g.activation_bits), ("broadcast", g.broadcast_bits)):
        banks = [
            ram(
                [
                    {
                        "write_valid": clock[f"{store}_valid"] and clock["write_bank"] == bank,
                        "write_address": clock[f"{store}_write"],
                        "write_data": clock[f"{store}_data"],
                        "read_address": clock[f"{store}_address"],
                    }
                    for clock in clocks
                ]
            )
            for bank in range(g.unroll)
        ]
        for clock, *found in zip(clocks, *banks, strict=True):
            clock[f"{store}_words"] = words([bank.get("read_data") for bank in found], g.lane_count * bits)
    return clocks


def operand_select(clocks, generics):
    """Operands stand two clocks after they are issued; the stores answer in between, lists of codes, of banks one for each."""
    g = SimpleNamespace(**generics)
    for clock in clocks:
        clock["out_valid"] = 0
    for asked, answer, after in zip(clocks, clocks[1:], clocks[2:], strict=False):
        x = {
            "input_store": answer["input_word"],
            "activation_store": answer["activation_words"][asked["x_bank"]],
            "exponential_store": answer["exponential_word"],
        }[asked["x_source"]]
        after["out_valid"] = asked["in_valid"] and not asked["rst"] and not answer["rst"]
        after["out_first"], after["out_last"] = asked["in_first"], asked["in_last"]
        after["x"], after["w"] = pack(x, g.x_bits), pack(broadcast_codes(asked, answer, g), g.w_bits)
    for clock in clocks:
        for store in ("input", "activation", "exponential", "weight", "head", "broadcast"):
            name = next(port for port in (f"{store}_word", f"{store}_words") if port in clock)
            clock[name] = pack(np.ravel(clock[name]), generics[f"{store}_bits"])
    return clocks


def broadcast_codes(asked, answer, g):
    """The broadcast operand of every output: of K neighbouring tokens of one bank, of V one token of all banks."""
    source, bank, lane, outputs = asked["w_source"], asked["x_bank"], asked["w_lane"], range(g.unroll)
    if source == "weight_rom":
        return answer["weight_word"]
    if source == "head_rom":
        return answer["head_word"]
    if source == "centre":
        return [g.norm_features - 1 if asked["diagonal"] and bank == o else -1 for o in outputs]
    banks = answer["broadcast_words"]
    codes = [banks[bank][lane + o] for o in outputs] if source == "keys" else [banks[o][lane] for o in outputs]
    half = 1 << (g.key_bits - 1)
    return [(code + half) % (2 * half) - half for code in codes]


def mac(clocks, x_bits, acc_bits):
    """Sums of x w for every operand, three clocks later. Each clock holds `x` as a list and `w`."""
    total = None
    for clock, after in zip(clocks, clocks[3:] + [{}] * 3, strict=True):
        if clock["valid"]:
            start = [0] * len(clock["x"]) if clock["first"] else total
            total = [t + x * clock["w"] for t, x in zip(start, clock["x"], strict=True)]
        if total is not None:
            after["acc"] = pack(total, acc_bits)
        clock["x"] = pack(clock["x"], x_bits)
    return clocks


def lanes(clocks, generics):
    """Finished sums stand in front four clocks after their last term and move on with every `advance`."""
    g = SimpleNamespace(**generics)
    totals, held = np.zeros((g.unroll, g.lane_count), np.int64), []
    finished = {}
    for number, clock in enumerate(clocks):
        if clock["valid"]:
            products = np.outer(clock["w"], clock["x"])
            totals = products + (0 if clock["first"] else totals)
            if clock["last"]:
                finished[number + 4] = totals.ravel().tolist()
        clock["captured"] = number in finished
        held = finished.get(number, held)
        if held:
            clock["front"] = pack(held[: g.requantisers], g.acc_bits)
        if clock["advance"]:
            held = held[g.requantisers :]
        clock["x"], clock["w"] = pack(clock["x"], g.x_bits), pack(clock["w"], g.w_bits)
    return clocks


def requantise(clocks, generics):
    """The code, four clocks after its operands, by `qtlib.program.rounding.requantise`."""
    shifts, residual_shifts, widths = (generics[name] for name in ("shifts", "residual_shifts", "widths"))
    for clock, after in zip(clocks, clocks[4:], strict=False):
        scaled = clock["residual"] * clock["residual_mult"] << residual_shifts[clock["residual_shift"]]
        total = clock["acc"] * clock["mult"] + scaled + clock["offset"]
        y = Tensor(name="y", shape=(), bits=widths[clock["width"]])
        after["code"] = int(rounding.requantise(np.array([total / (1 << shifts[clock["shift"]])]), y)[0])
    return clocks


def divider(clocks, exponential_bits):
    """A quotient 18 clocks after its total; what comes in between is not taken."""
    done, quotient = -1, 0
    for number, clock in enumerate(clocks):
        clock["in_ready"] = number >= done
        clock["out_valid"] = number == done
        if number == done:
            clock["quotient"] = quotient
        if number >= done and clock["in_valid"]:
            done, quotient = number + 18, int(reciprocal(np.int64(clock["total"]), exponential_bits))
    return clocks


def load(clocks, generics):
    """Words of all lanes, feature after feature, the surplus lanes 0; a window waits until it is taken."""
    window, features, lane_count, bits = (generics[name] for name in ("window", "features", "lanes", "bits"))
    groups = -(-window // lane_count)
    feature, tokens, address = 0, [], 0
    written, taken, waiting = None, False, 0  # waiting: 0 receiving, 1 complete, 2 full
    for clock in clocks:
        clock["write_valid"] = written is not None
        if written:
            clock["write_address"], clock["write_data"] = written
        clock["full"] = waiting == 2
        clock["in_ready"] = waiting == 0 and len(tokens) < window
        written = None
        if waiting == 0 and (clock["in_valid"] or len(tokens) >= window):
            tokens.append(clock["in_data"] if len(tokens) < window else 0)
            if len(tokens) % lane_count == 0:
                written = address, pack(tokens[-lane_count:], bits)
                address += 1
            if len(tokens) == groups * lane_count:
                feature, tokens = feature + 1, []
            if feature == features:
                feature, address, waiting = 0, 0, 1
        elif waiting == 1:
            waiting = 2
        taken = clock["take"] and waiting == 2
        if taken:
            waiting = 0
    return clocks


def unload(clocks, outputs):
    """Each result stands two clocks after it may, from the last write or from the result before."""
    memory, to_send, rest = {}, [], 0
    for clock in clocks:
        clock["free"] = not to_send
        clock["out_valid"] = bool(to_send) and rest == 0
        if clock["out_valid"]:
            clock["out_data"] = to_send[0]
            if clock["out_ready"]:
                to_send.pop(0)
                rest = 1
        elif to_send:
            rest -= 1
        if clock["write_valid"]:
            memory[clock["write_address"]] = clock["write_data"]
            if clock["write_last"]:
                to_send, rest = [memory[index] for index in range(outputs)], 1
    return clocks


def softmax(clocks, starts, generics):
    """Exponentials and reciprocals of the scores [row, key] that were complete at each start.

    Args:
        clocks: inputs; filled with the outputs in place.
        starts: clock of each start -> (scores [groups * parts, width, keys], table).
    """
    g = SimpleNamespace(**generics)
    period = max(g.keys, 18)
    for clock in clocks:
        clock["exponential_valid"] = clock["reciprocal_valid"] = 0
    for start, (scores, table) in starts.items():
        exponentials = reference.softmax(SimpleNamespace(table=np.asarray(table)), scores)
        inverse = reciprocal(exponentials.sum(-1), g.exponential_bits)
        for index in range(g.groups * g.parts):
            group, part = divmod(index, g.parts)
            for key in range(g.keys):
                clocks[start + index * period + key + 5] |= {
                    "exponential_valid": 1,
                    "exponential_address": key * g.groups + group,
                    "exponential_part": part,
                    "exponential_data": pack(exponentials[index, :, key], g.exponential_bits),
                }
            clocks[start + index * period + g.keys - 1 + 5 + 19] |= {
                "reciprocal_valid": 1,
                "reciprocal_slice": index,
                "reciprocal_data": pack(inverse[index], 17),
            }
    return clocks


def reciprocals_of(codes, reciprocal_bits):
    """Reciprocals of the limited roots of tokens [..., feature], by whole numbers and `math.isqrt`."""
    rows = np.asarray(codes).reshape(-1, np.shape(codes)[-1]).tolist()
    roots = [isqrt(len(row) * sum(c * c for c in row) - sum(row) ** 2) for row in rows]
    found = [int(reciprocal(np.int64(max(root, 2**reciprocal_bits - 1)), reciprocal_bits)) for root in roots]
    return np.reshape(found, np.shape(codes)[:-1])


def layer_norm(clocks, starts, generics):
    """Reciprocals of the codes [slice, width, feature] whose last ones came with each start: clock -> codes."""
    g = SimpleNamespace(**generics)
    first = root_clocks(Tensor(name="x", shape=(1, g.features), bits=g.bits)) - 1
    for clock in clocks:
        clock["reciprocal_valid"] = 0
    for start, codes in starts.items():
        for index, row in enumerate(reciprocals_of(codes, g.reciprocal_bits)):
            clocks[start + first + index * 18] |= {
                "reciprocal_valid": 1,
                "reciprocal_slice": index,
                "reciprocal_data": pack(row, 17),
            }
    return clocks


def exponential_store(clocks, generics):
    """Every slice is a `ram`; all are read, and the one that is named is written."""
    g = SimpleNamespace(**generics)
    slices = [
        ram([clock | {"write_valid": clock["write_valid"] and clock["write_slice"] == index} for clock in clocks])
        for index in range(g.slices)
    ]
    for clock, *found in zip(clocks, *slices, strict=True):
        clock["read_data"] = words([each.get("read_data") for each in found], g.width)
    return clocks


def reciprocal_store(clocks, generics):
    """A `ram` that softmax writes, or LayerNorm if there is one."""
    names = [("norm" if generics["normed"] and clock["norm_valid"] else "softmax") for clock in clocks]
    written = [
        {
            "write_valid": clock[f"{name}_valid"],
            "write_address": clock[f"{name}_slice"],
            "write_data": clock[f"{name}_data"],
            "read_address": clock["read_address"],
        }
        for name, clock in zip(names, clocks, strict=True)
    ]
    for clock, found in zip(clocks, ram(written), strict=True):
        clock |= {"read_data": found["read_data"]} if "read_data" in found else {}
    return clocks


def row_statistics(clocks, softmax_starts, norm_starts, generics):
    """`softmax` and `layer_norm` write, the two stores are read; starts as theirs."""
    g = SimpleNamespace(**generics)
    scaled = softmax([{} for _ in clocks], softmax_starts, generics)
    normed = [{"reciprocal_valid": 0} for _ in clocks]
    if g.norm_features:
        norm = {"features": g.norm_features, "bits": g.norm_bits, "reciprocal_bits": g.norm_reciprocal_bits}
        normed = layer_norm(normed, norm_starts, norm)
    exponentials, reciprocals = [], []
    for clock, soft, norm in zip(clocks, scaled, normed, strict=True):
        exponentials.append(
            {
                "write_valid": soft["exponential_valid"],
                "write_slice": soft.get("exponential_part"),
                "write_address": soft.get("exponential_address"),
                "write_data": soft.get("exponential_data"),
                "read_address": clock["exponential_address"],
            }
        )
        reciprocals.append({"read_address": clock["reciprocal_address"]})
        for name, writer in (("softmax", soft), ("norm", norm)):
            ports = {f"{name}_{port}": writer.get(f"reciprocal_{port}") for port in ("valid", "slice", "data")}
            reciprocals[-1] |= ports
    exponentials = exponential_store(exponentials, {"slices": g.parts, "width": g.width * g.exponential_bits})
    reciprocals = reciprocal_store(reciprocals, {"normed": g.norm_features > 0})
    for clock, exponential, inverse in zip(clocks, exponentials, reciprocals, strict=True):
        clock["exponential_word"] = exponential["read_data"]
        clock |= {"reciprocal_data": inverse["read_data"]} if "read_data" in inverse else {}
    return clocks


def sums(plan, tensors, i, rng):
    """Accumulators [step, group, unroll, lane] of one instruction for one window; lanes without a token hold noise."""
    shape, op = plan.shape, i.source
    window = shape.window
    tokens = shape.groups * shape.lanes
    x = tensors[op.x][0]
    acc = rng.integers(-50, 50, (i.steps * shape.unroll, tokens))
    for place in range(i.steps * shape.unroll):
        if isinstance(op, Scores):
            features = list(features_of(i))
            if place < window:
                acc[place, :window] = x[:, features] @ tensors[op.other][0][place, features]
        elif i.rows[place] >= 0:
            row = i.rows[place]
            if isinstance(op, Context):
                head = int(i.name.split("[")[1][:-1])
                acc[place, :window] = x[head] @ tensors[op.other][0][:, row]
            elif isinstance(op, Head):
                pooled = next(p for p in plan.program.operations if p.y == op.x)
                acc[place, :window] = tensors[pooled.x][0] @ op.weight[row]
            elif isinstance(op, LayerNorm):
                acc[place, :window] = x.shape[1] * x[:, row] - x.sum(1)
            else:
                acc[place, :window] = x @ op.weight[row]
        else:
            acc[place] = 0
    return acc.reshape(i.steps, shape.unroll, shape.groups, shape.lanes).transpose(0, 2, 1, 3)


def features_of(i):
    """Features of the head of an instruction."""
    head = int(i.name.split("[")[1][:-1]) if "[" in i.name else 0
    return range(head * i.inner, (head + 1) * i.inner)


def words(codes, bits):
    """A word of codes of which some are unknown, as text with '-'."""
    return "".join("-" * bits if c is None else f"{int(c) & ((1 << bits) - 1):0{bits}b}" for c in reversed(codes))


def retire(plan, tensors, gaps, rng):
    """Inputs and outputs of retire.vhd for one window: codes are those of `qtlib.program.reference.trace`.

    Args:
        plan: the schedule.
        tensors: `integer.trace` of one window.
        gaps: iterator of the idle clocks before each capture.
    """
    shape, widths, window, held = plan.shape, plan.widths, plan.shape.window, contents(plan)
    clocks = []

    def at(number):
        while len(clocks) <= number:
            clocks.append({"captured": 0, "advance": 0, "stream_valid": 0, "activation_valid": 0, "broadcast_valid": 0}
                          | {"score_valid": 0, "sum_valid": 0, "result_valid": 0})  # fmt: skip
        return clocks[number]

    def tokens(values, group):
        """Values of the lanes of one group; None where there is no token."""
        whole = [*values, *[None] * (shape.groups * shape.lanes - window)]
        return whole[group * shape.lanes : (group + 1) * shape.lanes]

    def codes_of(i, place):
        op = i.source
        if isinstance(op, Head):
            return None
        if isinstance(op, Scores):
            head = features_of(i).start // i.inner
            return tensors[op.y][0][head, :, place] if place < window else [None] * window
        return tensors[op.y][0][:, i.rows[place]] if i.rows[place] >= 0 else [None] * window

    now = 2
    for i in plan.instructions:
        op = i.source
        acc = sums(plan, tensors, i, rng)
        for step, group in np.ndindex(i.steps, shape.groups):
            now += next(gaps)
            at(now)["captured"] = 1
            for unit, part in np.ndindex(shape.unroll, shape.slices):
                slot, place = at(now), step * shape.unroll + unit
                follow = at(now + 1)
                span = slice(part * shape.requantisers, (part + 1) * shape.requantisers)
                slot["advance"] = 1
                slot["front"] = pack(acc[step, group, unit, span], widths["acc_bits"])
                shared = isinstance(op, (Scores, Context, LayerNorm))
                slot["parameter_address"] = i.parameter_base + (0 if shared else place)
                follow["parameter_data"] = held.parameters[slot["parameter_address"]]
                if i.residual == "stream":
                    slot |= {"stream_valid": 1, "stream_address": i.residual_base + step * shape.groups + group}
                    places = [i.rows[step * shape.unroll + u] for u in range(shape.unroll)]
                    stream = [
                        code or 0
                        for row in places
                        for code in tokens(tensors[op.residual][0][:, row] if row >= 0 else [0] * window, group)
                    ]
                    follow["stream_data"] = pack(stream, widths["broadcast_bits"])
                if i.residual == "position":
                    slot["position_address"] = (step * shape.groups + group) * shape.unroll + unit
                    follow["position_data"] = held.positions[slot["position_address"]]
                if isinstance(op, Context):
                    slot["reciprocal_address"] = group * shape.slices + part
                    head = int(i.name.split("[")[1][:-1])
                    e = tensors[op.x][0][head]
                    inverse = tokens(reciprocal(e.sum(-1), plan.program.tensors[op.x].bits), group)[span]
                    follow["reciprocal_data"] = pack([value or 0 for value in inverse], 17)
                if isinstance(op, LayerNorm):
                    slot["reciprocal_address"] = group * shape.slices + part
                    inverse = tokens(reciprocals_of(tensors[op.x][0], op.reciprocal_bits), group)[span]
                    follow["reciprocal_data"] = pack([value or 0 for value in inverse], 17)
                last = step == i.steps - 1 and group == shape.groups - 1
                ends = last and unit == shape.unroll - 1 and part == shape.slices - 1
                codes = codes_of(i, place)
                if isinstance(op, Scores):
                    at(now + 6).update(
                        score_valid=1,
                        score_last=ends,
                        score_table=i.table,
                        score_key=place,
                        score_slice=group * shape.slices + part,
                        score_data=words(tokens(codes, group)[span], widths["score_bits"]),
                    )
                elif isinstance(op, Head):
                    if group == shape.groups - 1 and part == shape.slices - 1:
                        known = i.rows[place] >= 0
                        at(now + 5).update(result_valid=1, result_last=ends, result_address=place)
                        if known:
                            at(now + 5)["result_data"] = int(tensors[op.y][0][i.rows[place]])
                elif part == shape.slices - 1:
                    at(now + 7)["write_bank"] = unit
                    for store in ("activation", "broadcast"):
                        if getattr(i, store):
                            at(now + 7).update(
                                {
                                    f"{store}_valid": 1,
                                    f"{store}_address": getattr(i, f"{store}_base") + step * shape.groups + group,
                                    f"{store}_data": words(tokens(codes, group), widths[f"{store}_bits"]),
                                }
                            )
                if i.root_clocks:
                    at(now + 6).update(
                        sum_valid=1,
                        sum_last=ends,
                        score_key=place,
                        score_slice=group * shape.slices + part,
                        sum_data=words(tokens(codes, group)[span], plan.program.tensors[op.y].bits),
                    )
                now += 1
    at(now + 9)
    return clocks
