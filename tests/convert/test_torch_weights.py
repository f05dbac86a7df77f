"""Conversion: strict in PyTorch, bit-identical in both directions, all mismatches in one error."""

import jax
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import stack_blocks
from tests.models.oracle import random_variables, randomised, state

ATTO = "inceptionnext_atto"


def flat(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def assert_identical(first, second):
    assert sorted(first) == sorted(second)
    for key in first:
        assert first[key].dtype == second[key].dtype, key
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


@pytest.mark.parametrize(
    "name", [f"inceptionnext_{size}" for size in ("atto", "tiny", "small", "base", "base_384")]
)
def test_initial_variables_load_strictly_into_timm(timm, name):
    import torch

    oracle = randomised(timm, name, num_classes=5)
    before = state(oracle)
    state_dict = to_torch(name, from_torch(name, before))
    oracle.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict.items()}, strict=True)
    assert_identical(state(oracle), before)


def test_our_variables_survive_conversion_in_both_directions():
    variables = random_variables(create_model(ATTO, num_classes=3))
    state_dict = to_torch(ATTO, variables)
    assert_identical(flat(from_torch(ATTO, state_dict)), flat(variables))
    assert_identical(to_torch(ATTO, stack_blocks(variables)), state_dict)


def test_tensors_and_half_precision_are_accepted(timm):
    import torch

    oracle = randomised(timm, ATTO, num_classes=3)
    expected = from_torch(ATTO, {k: v.bfloat16().float() for k, v in oracle.state_dict().items()})
    halved = {
        key: value.bfloat16() if value.is_floating_point() else value
        for key, value in oracle.state_dict(keep_vars=True).items()
    }
    assert halved["stem.0.weight"].dtype == torch.bfloat16
    converted = from_torch(ATTO, halved)
    assert_identical(flat(converted), flat(expected))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(converted))


@pytest.fixture(scope="module")
def good(timm):
    return state(randomised(timm, ATTO, num_classes=3))


def test_counters_are_optional(good):
    lean = {key: value for key, value in good.items() if "num_batches" not in key}
    assert_identical(flat(from_torch(ATTO, lean)), flat(from_torch(ATTO, good)))


def test_every_mismatch_of_a_state_dict_is_named_at_once(good):
    bad = dict(good)
    del bad["stem.0.weight"], bad["stages.2.blocks.3.gamma"]
    bad["head.fc9.weight"] = np.zeros(3, np.float32)
    bad["stages.0.blocks.1.token_mixer.dwconv_w.weight"] = np.zeros((10, 1, 1, 11), np.float32)
    bad["stem.1.running_mean"] = np.zeros(40, np.int64)
    with pytest.raises(UserError) as raised:
        from_torch(ATTO, bad)
    message = str(raised.value)
    assert "2 missing: stages.2.blocks.3.gamma, stem.0.weight" in message
    assert "1 unexpected: head.fc9.weight" in message
    assert "token_mixer.dwconv_w.weight (10, 1, 1, 11) instead of (10, 1, 1, 9)" in message
    assert "1 not floats: stem.1.running_mean int64" in message


def test_another_number_of_classes_than_requested_is_refused(good):
    assert from_torch(ATTO, good)["params"]["head"]["fc2"]["bias"].shape == (3,)
    with pytest.raises(UserError, match=r"head\.fc2\.weight \(3, 960\) instead of \(1000, 960\)"):
        from_torch(ATTO, good, num_classes=1000)


def test_another_model_is_refused(good):
    with pytest.raises(UserError, match=r"missing: .*stages\.2\.blocks\.6\.gamma"):
        from_torch("inceptionnext_tiny", good)


def test_every_mismatch_of_variables_is_named_at_once(good):
    variables = from_torch(ATTO, good)
    del variables["params"]["stem"]["conv"]["bias"]
    variables["params"]["extra"] = {"kernel": np.zeros(2, np.float32)}
    variables["batch_stats"]["stem"]["norm"]["var"] = np.zeros(3, np.float32)
    variables["params"]["head"]["norm"]["scale"] = np.zeros(960, np.int32)
    with pytest.raises(UserError) as raised:
        to_torch(ATTO, variables)
    message = str(raised.value)
    assert "1 missing: params/stem/conv/bias" in message
    assert "1 unexpected: params/extra/kernel" in message
    assert "batch_stats/stem/norm/var (3,) instead of (40,)" in message
    assert "1 not floats: params/head/norm/scale int32" in message


def test_unknown_model_suggests(good):
    with pytest.raises(UserError, match="did you mean inceptionnext_atto"):
        from_torch("inceptionnext_ato", good)
