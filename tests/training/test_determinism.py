"""Numbers are the same bits on every x86-64 machine with AVX2, whatever its libraries would choose."""

import os
import shutil
import subprocess
import sys

import pytest

from qtlib import processor
from qtlib.paths import ROOT

on_avx2 = pytest.mark.skipif(processor.kernels() != "avx2", reason="the promise is for x86-64 with AVX2")

# A float and a 4-bit training, and what NumPy's own kernels decide: ridge, and exponentials of figures.
TRAIN = """
import hashlib, sys
from qtlib import data, training
from qtlib.config import DataConfig, Experiment, ModelConfig, QuantConfig, TrainConfig
import numpy as np
config = DataConfig(dataset="flow", window=8)
prepared = data.prepare(config)
shape = ModelConfig(window=8, features=prepared.m, d_model=16)
told = Experiment(data=config, model=shape, quant=QuantConfig(bits=4), train=TrainConfig(epochs=1, qat_epochs=1))
run = training.train(told, prepared)
states = [run.model.state_dict(), training.train(told.start, prepared).model.state_dict()]
digest = hashlib.sha256(run.program.digest.encode())
for value in (value for state in states for value in state.values()):
    digest.update(value.numpy().tobytes())
for value in (data.baselines(prepared).rmse.to_numpy(), np.exp(np.linspace(-5, 5, 1001)), prepared.train.x):
    digest.update(np.ascontiguousarray(value).tobytes())
print(training.kernels(), digest.hexdigest())
"""
LIMIT = 600  # seconds: far more than it takes on a busy machine


def trained(folder, **environment):
    """Kernels and digest of a training in a process of its own, on the synthetic series."""
    changed = {"QTLIB_PREPARED": str(folder), "QTLIB_OFFLINE": "1", "QTLIB_DATA": "", "PYTHONPATH": str(ROOT)}
    inherited = {name: value for name, value in os.environ.items() if name not in processor.SETTINGS}
    command = [sys.executable, "-c", TRAIN]
    done = subprocess.run(
        command, cwd=folder, env=inherited | changed | environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def intel(tmp_path_factory):
    """A library that lets MKL, which looks at the maker of the processor first, take the kernels of Intel's on any."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("cc is not installed")
    library = tmp_path_factory.mktemp("intel") / "intel.so"
    source = b"int mkl_serv_intel_cpu_true(void) { return 1; }"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source, check=True)
    return str(library)


@on_avx2
@pytest.mark.parametrize("level", ["SSE4_2", "AVX512"])
def test_a_training_is_the_same_bits_whatever_the_machine_would_prefer(tmp_path, here, intel, level):
    assert here[0] == "avx2"
    threads = {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "2"} if level == "AVX512" else {"OMP_NUM_THREADS": "1"}
    assert trained(tmp_path, LD_PRELOAD=intel, MKL_ENABLE_INSTRUCTIONS=level, **threads) == here


@on_avx2
def test_other_kernels_are_other_bits_and_are_named(tmp_path, here):
    """Else the test above could not fail."""
    kernels, digest = trained(tmp_path, ATEN_CPU_CAPABILITY="default")
    assert kernels == "ATEN_CPU_CAPABILITY=default"
    assert digest != here[1]


@pytest.mark.skipif(not processor.is_x86(), reason="the settings are for x86-64")
def test_importing_qtlib_fixes_the_kernels_before_numpy_loads():
    code = "import sys, qtlib, os; print('numpy' in sys.modules, os.environ['OPENBLAS_CORETYPE'])"
    clean = {name: value for name, value in os.environ.items() if name not in processor.SETTINGS}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Haswell"]


def test_what_is_set_already_is_left(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    processor.fix_kernels()
    assert os.environ["MKL_CBWR"] == "AVX2"


def test_a_label_says_where_digits_may_differ(monkeypatch):
    monkeypatch.setattr(processor, "has_avx2", lambda: False)
    assert processor.note() == "not on the kernels of AVX2: digits may differ"
