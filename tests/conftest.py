"""Settings that must be made before jax is imported, and the PyTorch oracle."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import pytest


@pytest.fixture(scope="session")
def timm():
    """timm, the oracle. Never in one process with tensorflow: the pair crashes."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's torchvision lacks compiled operators beside a CPU torch: declare what it asks for.
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        pytest.torchvision_library = library  # keeps the declaration alive
    torch.set_num_threads(2)
    import timm

    return timm
