"""Steps of training against timm's parts, in float64: see benchmarks/loss_curve.py."""

import numpy as np
import pytest

from benchmarks import loss_curve

NETS = loss_curve.nets()


def assert_equal(found):
    assert found.ours.dtype == np.float64
    assert found.losses < 1e-6
    assert max(found.weights, found.averages, found.statistics) < 1e-5


def test_thirty_steps_equal_timms():
    """Three epochs: the warm-up and the beginning of the cosine."""
    found = loss_curve.compare(NETS[0], "float64", steps=30)
    assert len(found.ours) == 30
    assert_equal(found)


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_hundred_steps_equal_timms(net):
    found = loss_curve.compare(net, "float64")
    assert len(found.ours) == 100
    assert_equal(found)
    # It is a training: both see it get better, by more than its noise.
    assert found.ours[-10:].mean() < 0.9 * found.ours[:10].mean()
