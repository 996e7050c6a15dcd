"""Quantised time-series Transformers, from a sensor file to a verified integer accelerator."""

from qtlib.processor import fix_kernels

__version__ = "0.2.0"

fix_kernels()  # before NumPy and PyTorch load
