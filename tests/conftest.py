"""Settings that must be made before jax is imported, and the PyTorch oracle."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import jax
import pytest

from tests.runs import CACHE

# The same small programs are compiled by many tests, and again in the next run of the tests.
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def timm():
    """timm, the oracle. Never in one process with tensorflow: the pair crashes."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's torchvision lacks compiled operators beside a CPU torch: declare what it asks for.
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        pytest.torchvision_library = library  # keeps the declaration alive
    torch.set_num_threads(2)
    import timm

    return timm
