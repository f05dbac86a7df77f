"""Settings that must be made before jax is imported, and the PyTorch oracle."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import jax
import pytest

from benchmarks.oracle import import_timm
from tests.runs import CACHE

# The same small programs are compiled by many tests, and again in the next run of the tests.
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def timm():
    """timm, the oracle."""
    return import_timm()
