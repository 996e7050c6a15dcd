"""The integer programs that notebook 02 hands to the later ones: a file each, and an index with their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtlib import paths
from qtlib.compendium import results
from qtlib.program.file import load, save
from qtlib.program.program import Program

if TYPE_CHECKING:
    from qtlib.training.run_store import Run

INDEX = "02_programs"


def keep(run: Run) -> dict[str, Any]:
    """Write the program of a run under `qtlib.paths.prepared` and return its entry for the index.

    Raises:
        ValueError: the run is a float model.
    """
    experiment, program = run.experiment, run.program
    if program is None or experiment.quant is None:
        raise ValueError(f"programs: the run {experiment.run_id} is a float model, which has no program")
    data, d_model, bits = experiment.data, experiment.model.d_model, experiment.quant.bits
    title = f"{data.dataset}_n{data.window}_d{d_model}_{bits}bit"
    save(program, paths.prepared() / "programs" / f"{title}.qtp")
    return {
        "name": title,
        "file": f"programs/{title}.qtp",
        "dataset": data.dataset,
        "window": data.window,
        "d_model": d_model,
        "bits": bits,
        "digest": program.digest,
        "run_id": experiment.run_id,
        "seed": experiment.train.seed,
        "macs": program.macs,
        "unit": program.metadata["unit"],
        **run.metrics,
    }


def entries(dataset: str, d_model: int, seed: int) -> list[dict[str, Any]]:
    """What the index says of the programs of one shape and seed, the widest first.

    Raises:
        FileNotFoundError: notebook 02 has not run.
    """
    asked = (dataset, d_model, seed)
    found = results.load_json(INDEX)["programs"]
    return [entry for entry in found if (entry["dataset"], entry["d_model"], entry["seed"]) == asked]


def programs(dataset: str, d_model: int, seed: int) -> dict[int, Program]:
    """The programs of one shape and seed by the bits of their body, the widest first.

    Raises:
        FileNotFoundError: notebook 02 has not run, or its files are gone.
        ValueError: a file holds another program than the index says.
    """
    found = {}
    for entry in entries(dataset, d_model, seed):
        program = load(paths.prepared() / entry["file"])
        if program.digest != entry["digest"]:
            raise ValueError(
                f"programs: {entry['file']} has the digest {program.digest}, the index of notebook 02 says {entry['digest']}; "
                'run "python -m qtlib run 2"'
            )
        found[entry["bits"]] = program
    return found
