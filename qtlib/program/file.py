"""Program files (``.qtp``): one ZIP file of ``program.json`` and NPY arrays, checked array by array."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from qtlib.paths import write_atomic
from qtlib.program.codes import Codes, Tensor
from qtlib.program.operations import KINDS
from qtlib.program.program import VERSION, Program, plain_form

# What a damaged archive raises: also a flag that says encrypted, or a compression that does not exist.
DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError, RuntimeError, NotImplementedError)


def save(program: Program, path: Path) -> Path:
    """Write a program as one ZIP file of ``program.json`` and NPY arrays; equal programs give equal bytes."""
    header, arrays = plain_form(program)
    header["arrays"] = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry("program.json"), json.dumps(header, indent=1, sort_keys=True))
        for name in sorted(arrays):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), stream.getvalue())
    return write_atomic(Path(path), buffer.getvalue())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # no dates: equal programs give equal bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def load(path: Path) -> Program:
    """Read a program.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it is not a program, is of another version, or an array is damaged or missing.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"program: {path} is a folder; name one program file, such as those in it: {_programs_in(path)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"program: {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("program.json"))
            version, names = header.get("version"), header["arrays"]
    except DAMAGE as error:
        raise ValueError(f"program: {path} is not a program file: {error}") from error
    if version != VERSION:
        raise ValueError(
            f"program: {path} has version {version}, this qtlib reads version {VERSION}; lower the model again"
        )
    with zipfile.ZipFile(path) as archive:
        arrays = {name: _load_array(archive, name, digest, path) for name, digest in names.items()}
    tensors = {}
    for plain in header["tensors"]:
        tensor = Tensor(**{**plain, "shape": tuple(plain["shape"]), "scale": tuple(plain["scale"])})
        tensors[tensor.name] = tensor
    operations, constants = [], {}
    for index, plain in enumerate(header["operations"]):
        prefix = f"{index:03d}/"
        held: dict[str, Any] = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        operations.append(KINDS[plain.pop("kind")](**plain, **held))
    for name, array in arrays.items():
        if name.startswith("constants/"):
            constants[name.removeprefix("constants/")] = array
    return Program(tensors=tensors, operations=tuple(operations), constants=constants, metadata=header["metadata"])


def _programs_in(folder: Path) -> str:
    names = sorted(file.name for file in folder.glob("*.qtp"))
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "it has no .qtp file"


def _load_array(archive: zipfile.ZipFile, name: str, digest: str, path: Path) -> Codes:
    try:
        array = np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"program: array {name} of {path} is damaged or missing: {error}") from error
    found = hashlib.sha256(array.tobytes()).hexdigest()
    if found != digest:
        raise ValueError(f"program: array {name} of {path} is damaged: SHA-256 {found[:12]}, expected {digest[:12]}")
    return array
