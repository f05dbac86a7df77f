"""A hundred steps of training against timm's parts, in float64: see benchmarks/loss_curve.py."""

import numpy as np
import pytest

from benchmarks import loss_curve

# One net in every run of the tests; the others take as long again and prove little more.
NETS = [
    pytest.param(net, id=net.name, marks=[pytest.mark.slow] if i else [])
    for i, net in enumerate(loss_curve.nets())
]


@pytest.mark.parametrize("net", NETS)
def test_a_hundred_steps_equal_timms(net):
    found = loss_curve.compare(net, "float64")
    assert len(found.ours) == 100
    assert found.ours.dtype == np.float64
    assert found.losses < 1e-6
    assert max(found.weights, found.averages, found.statistics) < 1e-5
    # It is a training: both see it get better, by more than its noise.
    assert found.ours[-10:].mean() < 0.9 * found.ours[:10].mean()
