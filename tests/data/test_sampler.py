import numpy as np
import pytest

from inceptionnext_jax.data import sampler


def splitmix_in_plain_python(x):
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_hash_is_splitmix64():
    # First output of the published generator seeded with 0.
    assert splitmix_in_plain_python(0) == 0xE220A8397B1DCDAF
    values = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    expected = [splitmix_in_plain_python(int(v)) for v in values]
    assert sampler.splitmix64(values).tolist() == expected


def test_order_never_changes():
    """A change here would change every run and every resumed run."""
    assert sampler.permutation(0, 0, 10).tolist() == ORDER_0_0
    assert sampler.permutation(42, 3, 10).tolist() == ORDER_42_3
    np.testing.assert_array_equal(sampler.image_uniforms(42, 7, 3), UNIFORMS_42_7)


ORDER_0_0 = [2, 6, 5, 3, 0, 4, 7, 1, 8, 9]
ORDER_42_3 = [2, 0, 7, 6, 3, 1, 9, 4, 5, 8]
UNIFORMS_42_7 = [0.649420079613736, 0.8848813535936771, 0.5537339411764371]


@pytest.mark.parametrize("n", [1, 2, 1000, 50_000])
def test_order_is_a_permutation(n):
    assert np.array_equal(np.sort(sampler.permutation(5, 9, n)), np.arange(n))


def test_orders_of_epochs_and_seeds_are_unrelated():
    n = 10_000
    base = sampler.permutation(0, 0, n).astype(float)
    for seed, epoch in ((0, 1), (1, 0), (1, 1), (-1, 0), (2**63, 5)):
        other = sampler.permutation(seed, epoch, n).astype(float)
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.05


def test_uniforms_fill_the_interval_and_differ_between_images():
    u = np.stack([sampler.image_uniforms(1, draw, 8) for draw in range(4000)])
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_allclose(u.mean(0), 0.5, atol=0.03)
    assert len(np.unique(u)) == u.size


def test_steps_cover_an_epoch():
    shown = [
        sampler.train_index(seed=3, step=s, position=p, batch_size=4, num_examples=11)
        for s in range(2)
        for p in range(4)
    ]
    assert shown == sampler.permutation(3, 0, 11)[:8].tolist()
    assert (
        sampler.train_index(seed=3, step=2, position=1, batch_size=4, num_examples=11)
        == sampler.permutation(3, 1, 11)[1]
    )
