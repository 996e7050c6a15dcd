"""From windows to an integer program: float model, calibration, quantisation-aware training, lowering.

`train` trains an `Experiment` or reads it back, `calibrated` is where quantised training starts, `lower` writes a model down as a
`Program`. Everything that needs PyTorch to compute is here.
"""

from qtlib.training.bit_widths import FEED_FORWARD, narrow_weights, widths
from qtlib.training.calibration import calibrate, calibrate_channels, calibrate_gain, largest_scale, scale_cost
from qtlib.training.determinism import kernels, one_thread
from qtlib.training.encoder import Encoder, parameter_count, sinusoidal_position
from qtlib.training.experiments import make_experiment
from qtlib.training.lowering import example, lower
from qtlib.training.quantised_encoder import QuantisedEncoder, calibrated
from qtlib.training.run_store import PROCEDURE, Run, run_folder
from qtlib.training.runs import metadata, mismatch, predict, train, train_all
from qtlib.training.softmax_table import exponential_table
from qtlib.training.training_loop import forecast

__all__ = [
    "FEED_FORWARD",
    "PROCEDURE",
    "Encoder",
    "QuantisedEncoder",
    "Run",
    "calibrate",
    "calibrate_channels",
    "calibrate_gain",
    "calibrated",
    "example",
    "exponential_table",
    "forecast",
    "kernels",
    "largest_scale",
    "lower",
    "make_experiment",
    "metadata",
    "mismatch",
    "narrow_weights",
    "one_thread",
    "parameter_count",
    "predict",
    "run_folder",
    "scale_cost",
    "sinusoidal_position",
    "train",
    "train_all",
    "widths",
]
