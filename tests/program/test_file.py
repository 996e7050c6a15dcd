"""A program file keeps every bit, and whatever is wrong with one is said."""

import io
import json
import zipfile

import numpy as np
import pytest
from refusals import raises

from qtlib.program import file, reference
from qtlib.training.random_models import SHAPES, WIDTHS, codes, program


@pytest.mark.parametrize("quant", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_a_program_survives_the_disk_bit_for_bit(tmp_path, config, quant):
    prog = program(config, quant)
    again = file.load(file.save(prog, tmp_path / "a.qtp"))
    assert again.digest == prog.digest
    assert again.tensors == prog.tensors and again.metadata == prog.metadata
    assert (reference.run(again, codes(prog)) == reference.run(prog, codes(prog))).all()


def test_equal_programs_give_equal_bytes(tmp_path):
    first, second = (file.save(program(), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_missing_file_is_named(tmp_path):
    with raises(FileNotFoundError, f"program: {tmp_path / 'none.qtp'} does not exist"):
        file.load(tmp_path / "none.qtp")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.qtp").write_text("hello")
    with raises(ValueError, f"program: {tmp_path / 'a.qtp'} is not a program file: File is not a zip file"):
        file.load(tmp_path / "a.qtp")


def rewritten(path, change):
    """Rewrite the entries of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_an_archive_without_a_program_is_refused(tmp_path):
    path = rewritten(file.save(program(), tmp_path / "a.qtp"), lambda entries: entries.pop("program.json"))
    with pytest.raises(ValueError, match="^program: .*a.qtp is not a program file: .*program.json"):
        file.load(path)


def test_another_version_is_refused(tmp_path):
    def change(entries):
        entries["program.json"] = json.dumps(json.loads(entries["program.json"]) | {"version": 99}).encode()

    path = rewritten(file.save(program(), tmp_path / "a.qtp"), change)
    with raises(ValueError, f"program: {path} has version 99, this qtlib reads version 1; lower the model again"):
        file.load(path)


def test_a_changed_array_is_refused(tmp_path):
    name = "001/weight.npy"

    def change(entries):
        array = np.load(io.BytesIO(entries[name]))
        array[0, 0] ^= 1
        stream = io.BytesIO()
        np.save(stream, array)
        entries[name] = stream.getvalue()

    path = rewritten(file.save(program(), tmp_path / "a.qtp"), change)
    with pytest.raises(
        ValueError, match=r"^program: array 001/weight of .*a.qtp is damaged: SHA-256 \w{12}, expected \w{12}$"
    ):
        file.load(path)


def test_a_missing_array_is_refused(tmp_path):
    path = rewritten(file.save(program(), tmp_path / "a.qtp"), lambda entries: entries.pop("001/weight.npy"))
    with pytest.raises(ValueError, match=r"^program: array 001/weight of .*a.qtp is damaged or missing: "):
        file.load(path)


def test_half_a_file_is_refused(tmp_path):
    path = file.save(program(), tmp_path / "a.qtp")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"^program: .*a.qtp is not a program file: "):
        file.load(path)


def test_any_flipped_byte_is_refused_or_harmless(tmp_path):
    prog = program()
    path = file.save(prog, tmp_path / "a.qtp")
    whole = path.read_bytes()
    refused = []
    for position in np.random.default_rng(0).integers(0, len(whole), 300):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            assert file.load(path).digest == prog.digest
        except ValueError as error:
            refused.append(str(error))
    assert all(text.startswith("program: ") for text in refused)
    assert len(refused) > 200


def test_a_write_that_fails_leaves_the_old_program(tmp_path, monkeypatch):
    path = file.save(program(), tmp_path / "a.qtp")
    before = path.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qtlib.paths.os.replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        file.save(program(quant=WIDTHS["4-bit"]), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.qtp"]
