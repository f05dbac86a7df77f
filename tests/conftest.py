"""Settings that must be made before jax is imported, memory, and the PyTorch oracle."""

import ctypes
import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import jax
import pytest

from benchmarks.oracle import import_timm, import_transformers
from tests.runs import CACHE

# The same small programs are compiled by many tests, and again in the next run of the tests.
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


MUCH = 1.2e9  # bytes; torch, timm and JAX take two thirds of it


def free_memory() -> None:
    """Frees compiled programs and garbage; a worker would otherwise grow to 5 GB."""
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # hands freed pages back to the system


def resident_bytes() -> int:
    """The memory that this process occupies; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.fixture(autouse=True, scope="module")
def memory_freed_after_a_file():
    yield
    free_memory()


@pytest.fixture(autouse=True)
def memory_freed_after_a_large_test():
    yield
    if resident_bytes() > MUCH:
        free_memory()


@pytest.fixture(scope="module")
def quick_compilation():
    """For files whose programs are large and run a few times: compiling is what costs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def timm():
    """timm, the oracle."""
    imported = import_timm()
    import torch

    torch.set_num_threads(1)  # small networks; other workers have the other cores
    return imported


@pytest.fixture(scope="session")
def transformers():
    """transformers, the oracle of UperNet."""
    imported = import_transformers()
    import torch

    torch.set_num_threads(1)
    return imported
