"""The search: one process or many on one study, which goes on after an interruption or a kill."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import signal
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from qtlib.config import Experiment, check_choice, check_range
from qtlib.estimate.device_fit import check_fit
from qtlib.explore.space import Space, anchors, design
from qtlib.explore.storage import compare, default_storage, finished, open_storage, outcome, reachable, reap
from qtlib.explore.trial import HOPELESS, Job, evaluate, float_start, read_point, untrained
from qtlib.studies.precision_studies import windows
from qtlib.training.determinism import one_thread
from qtlib.training.training_loop import Progress

DEATHS = 5  # of workers, one after the other, without a trial finished in between
OBJECTIVES = {"latency": "clocks", "energy": "energy_high_uj"}  # the energy is a published power times the latency


def open_study(job: Job) -> optuna.Study:
    """The study of a job; a new one gets its attributes and its anchors."""
    with reachable(job.storage):
        opened = open_storage(job.storage)
        new = job.name not in optuna.get_all_study_names(opened)
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(job.objectives)
        if new:  # load_if_exists alone would write also into a study of another project
            optuna.create_study(storage=opened, study_name=job.name, directions=directions, load_if_exists=True)
        study = optuna.load_study(storage=opened, study_name=job.name)
        waiting = all(trial.state is TrialState.WAITING for trial in study.get_trials(deepcopy=False))
        if new or ("qtlib" not in study.user_attrs and waiting):  # or its maker was killed before the last line
            fixed = {name for name, options in job.space.choices(job.base).items() if len(options) == 1}
            for point in anchors(job.space, job.base):
                chosen = {name: value for name, value in point.items() if name not in fixed}
                study.enqueue_trial(chosen, skip_if_exists=True)
            study.set_user_attr("qtlib", job.made_with)
    compare(study, job.storage, job.identity)
    return study


def _work(job: Job, index: int, ticket: Callable[[], bool], say: Progress, report: Callable[[], object]) -> None:
    """Run trials while there are tickets; ``report`` is called after each."""
    study = open_study(job)
    fresh = np.random.SeedSequence(
        [job.seed, index, len(study.get_trials(deepcopy=False))]
    )  # or a resumed study repeats itself
    study.sampler = optuna.samplers.TPESampler(seed=int(fresh.generate_state(1)[0]))
    with reachable(job.storage):
        while finished(study) < job.trials and ticket():
            study.optimize(lambda trial: evaluate(trial, job, say), n_trials=1, catch=(Exception,))
            report()


def _worker(job: Job, index: int, tickets: Any, stop: Any) -> None:
    """A process of a study; it ends between two epochs when it is told to, or when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which says stop

    def beat(*epoch: float) -> None:
        parent = multiprocessing.parent_process()
        if stop.is_set() or parent is None or not parent.is_alive():
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), one_thread():
        _work(job, index, lambda: tickets.acquire(block=False), beat, beat)


def _supervise(job: Job, study: optuna.Study, workers: int, report: Callable[[], int]) -> None:
    """Run worker processes until every trial has ended; a killed one is replaced and its trial taken up again.

    Raises:
        ChildProcessError: a worker ended with an error, or workers are killed again and again.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
    tickets, stop = context.Semaphore(job.trials - finished(study)), context.Event()
    alive: list[Any] = []
    started = deaths = 0
    try:
        while alive or finished(study) < job.trials:
            while len(alive) < min(workers, max(1, job.trials - finished(study))) and not (
                alive and tickets.get_value() == 0
            ):
                if not alive and tickets.get_value() == 0:  # one was killed with its ticket
                    tickets.release()
                alive.append(context.Process(target=_worker, args=(job, started, tickets, stop), daemon=True))
                alive[-1].start()
                started += 1
            connection.wait([process.sentinel for process in alive], timeout=1)
            deaths = 0 if report() else deaths
            for process in [p for p in alive if p.exitcode is not None]:
                alive.remove(process)
                if process.exitcode > 0:
                    raise ChildProcessError(
                        f"explore: a worker ended with exit status {process.exitcode}; its traceback is above"
                    )
                if process.exitcode < 0:
                    deaths += 1
                    for _ in reap(study):
                        tickets.release()
                if deaths >= DEATHS:
                    raise ChildProcessError(
                        f"explore: {deaths} workers were killed by signal {-process.exitcode} and no trial has ended meanwhile; "
                        "where memory is short, take fewer workers"
                    )
    finally:
        stop.set()
        for process in alive:
            process.join(timeout=10)
            process.kill()
            process.join()
        reap(study)


def run(
    base: Experiment,
    space: Space,
    *,
    name: str,
    trials: int,
    workers: int = 1,
    storage: str | None = None,
    objective: str = "latency",
    lut: bool = False,
    seed: int = 0,
    hopeless: float = HOPELESS,
    progress: Callable[[str], None] = print,
) -> optuna.Study:
    """Search until ``trials`` have ended, counting those of earlier calls; a study that was interrupted or killed goes on.

    Args:
        base: what all trials have in common: data, training, norm, heads and layers; from `make_base`.
        space: what may be chosen.
        name: of the study.
        trials: the total to reach; those that were taken up again are not counted.
        workers: processes, each with one thread; 1: this one, and the same calls give the same trials.
        storage: see `open_storage`; None: `default_storage`.
        objective: beside the validation error, one of `OBJECTIVES`; at one clock and published power both rank alike.
        lut: take the LUTs as third objective.
        seed: of the sampler.
        hopeless: prune above this many times the larger of the naive and the float error after the first epoch.
        progress: receives a line per trial.

    Raises:
        ValueError: the study was made with something else; a choice is not legal; or nothing of what was tried fits its device,
            with what would.
        OSError: the storage cannot be reached or written, or workers die.
        KeyboardInterrupt: the trials that ran are enqueued again.
    """
    check_choice("explore", "objective", objective, OBJECTIVES)
    check_range("explore", "trials", trials, 1, 1_000_000)
    check_range("explore", "workers", workers, 1, 256)
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(
            f"explore: name={name!r} must be letters, digits, '-', '_' and '.', because files are named by it"
        )
    if not hopeless > 0:
        raise ValueError(f"explore: hopeless={hopeless} must be above 0")
    objectives = ("validation_rmse", OBJECTIVES[objective], *(["lut"] if lut else []))
    job = Job(name, storage or default_storage(name), base, space, objectives, hopeless, trials, seed)
    study = open_study(job)
    reap(study, own=True)
    told = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def report() -> int:
        new = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.number not in told]
        for trial in new:
            told.add(trial.number)
            progress(f"explore {name}: {_line(trial)}; {finished(study)}/{trials} trials")
        return len(new)

    try:
        if workers == 1:
            _work(job, 0, lambda: True, lambda *epoch: None, report)
        else:
            with reachable(job.storage):
                _supervise(job, study, workers, report)
    except BaseException:
        with contextlib.suppress(Exception):
            reap(study, own=True)
        raise
    _check_something_fits(study, job)
    return study


def _line(trial: FrozenTrial) -> str:
    what, why = outcome(trial)
    found = trial.user_attrs.get("ended", {}).get("measured", {})
    if what == "complete":
        why = (
            f"validation rmse {found['validation_rmse']:.4g}, {found['clocks']:,} clocks, {found['lut']:,} LUTs, "
            f"weights of {found['mean_weight_bits']:.1f} bits"
        )
    return f"trial {trial.number} {what}: {why}"


def _check_something_fits(study: optuna.Study, job: Job) -> None:
    tried = [trial for trial in study.get_trials(deepcopy=False) if "ended" in trial.user_attrs]
    if not tried or any(trial.user_attrs["ended"]["outcome"] != "infeasible" for trial in tried):
        return
    cheapest = min(tried, key=lambda trial: sum(trial.constraints.values()))
    why = cheapest.user_attrs["ended"]["why"]
    experiment, hardware = design(read_point(cheapest, job), job.base, job.space)
    with contextlib.suppress(OverflowError):
        prepared = windows(experiment.data)
        try:
            check_fit(untrained(experiment, float_start(experiment, prepared, lambda *epoch: None), prepared), hardware)
        except ValueError as error:
            why = str(error)
    raise ValueError(
        f"explore: none of the {len(tried)} designs tried fits; the nearest is trial {cheapest.number}, {hardware.lanes} lanes, "
        f"window {experiment.data.window}, d_model {experiment.model.d_model}: {why}"
    )
