"""Quantised time-series Transformers, from a sensor file to a verified integer accelerator."""

__version__ = "0.1.0"
