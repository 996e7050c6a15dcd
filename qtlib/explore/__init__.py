"""Search over mixed precision and hardware together: which widths, shape and engine give which error at which latency.

A trial is one point of a `Space`: an `Experiment` and a `HardwareConfig`. In this order: the float model of its shape (one for all
trials); the calibrated program, whose estimate says whether it fits the device; short quantised training, cut off where it is
hopeless; the error of the integer program on validation, and the estimate of the trained program. Test windows are no part of that.

The record tells what is not feasible from what was pruned and from what failed. Infeasible trials have no error, but tell the sampler
how far they are from fitting. That is why it is TPE: NSGA-II learns from complete trials alone, and a made-up error would be
in the record. TPE also samples categories one by one, so that thirty of them do not dilute each other.

A trial whose worker was killed is marked failed and its parameters are taken up again. On this machine that is known by the process;
on others by Optuna's heartbeat, where the storage is a database.
"""

from qtlib.explore.record import dominated, export, front, objectives, read_trials, save, shown, trials
from qtlib.explore.search import OBJECTIVES, run
from qtlib.explore.space import Space, anchors, design, make_base, read_space
from qtlib.explore.storage import default_storage, load
from qtlib.explore.trial import HOPELESS

__all__ = [
    "HOPELESS",
    "OBJECTIVES",
    "Space",
    "anchors",
    "default_storage",
    "design",
    "dominated",
    "export",
    "front",
    "load",
    "make_base",
    "objectives",
    "read_space",
    "read_trials",
    "run",
    "save",
    "shown",
    "trials",
]
