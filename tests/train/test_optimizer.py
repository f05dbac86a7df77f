"""The optimizer against torch, and which parameters it treats how."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import inceptionnext_jax as inx
from configs import default
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train import trees
from inceptionnext_jax.train.optimizer import DECAY_RULES, make_optimizer


def optim(**changes) -> ConfigDict:
    config = default.get_config().optim
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def params():
    model = inx.create_model("inceptionnext_atto", num_classes=7, stage_depths=(1, 1, 1, 1))
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]


def test_twenty_adamw_steps_equal_torch(timm):
    import torch

    rng = np.random.default_rng(0)
    start = {"a": {"kernel": rng.normal(size=(5, 3)), "bias": rng.normal(size=3)}}
    start = jax.tree.map(lambda a: a.astype(np.float32), start)
    gradients = [jax.tree.map(lambda a: rng.normal(size=a.shape).astype("f"), start)
                 for _ in range(20)]  # fmt: skip
    rates = [1e-3 * (1 + i / 7) for i in range(20)]

    kernel, bias = (torch.nn.Parameter(torch.tensor(start["a"][k])) for k in ("kernel", "bias"))
    reference = torch.optim.AdamW(
        [{"params": [kernel], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}],
        eps=1e-8,
    )
    tx, _, _ = make_optimizer(optim(), start)
    ours, state = jax.tree.map(jnp.asarray, start), tx.init(start)
    for gradient, lr in zip(gradients, rates, strict=True):
        kernel.grad, bias.grad = (torch.tensor(gradient["a"][k]) for k in ("kernel", "bias"))
        for group in reference.param_groups:
            group["lr"] = lr
        reference.step()
        direction, state = tx.update(gradient, state, ours)
        ours = jax.tree.map(lambda p, d, lr=lr: p + lr * d, ours, direction)
    for name, wanted in (("kernel", kernel), ("bias", bias)):
        wanted = wanted.detach().numpy()
        assert abs(ours["a"][name] - wanted).max() < 1e-6 * abs(wanted).max()


def test_decay_mask_equals_timms_parameter_groups(timm):
    from timm.optim import param_groups_weight_decay

    name = "inceptionnext_atto"
    reference = timm.create_model("inception_next_atto")
    groups = param_groups_weight_decay(reference, weight_decay=0.05)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    wanted = {key: id(p) in decayed for key, p in reference.named_parameters()}

    variables = jax.jit(inx.create_model(name).init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    mask = trees.by_rules(variables["params"], DECAY_RULES, "weight decay")
    # The converter carries a flag per parameter to timm's name for it.
    flags = jax.tree.map(
        lambda leaf, decays: np.full(leaf.shape, decays, np.float32), variables["params"], mask
    )
    named = to_torch(name, {"params": flags, "batch_stats": variables["batch_stats"]})
    assert {key: bool(named[key].all()) for key in wanted} == wanted
    assert any(wanted.values())
    assert not all(wanted.values())


def test_a_parameter_that_no_rule_covers_is_an_error():
    with pytest.raises(UserError, match="block/mystery"):
        make_optimizer(optim(), {"block": {"mystery": jnp.zeros(3), "kernel": jnp.zeros((2, 2))}})


def test_freeze_and_lr_mult_give_factors_by_first_match(params):
    factors = make_optimizer(
        optim(freeze="^stem/", lr_mult=(("^head/fc2", 10.0), ("^head/", 2.0))), params
    ).rate_factors
    flat = dict(trees.paths_and_leaves(factors))
    assert flat["stem/conv/kernel"] == 0.0
    assert flat["head/fc2/kernel"] == 10.0
    assert flat["head/fc1/kernel"] == 2.0
    assert flat["stages_0/blocks_0/gamma"] == 1.0


@pytest.mark.parametrize("changes", [{"freeze": "steem"}, {"lr_mult": (("hed", 2.0),)}])
def test_a_pattern_that_matches_nothing_is_refused(params, changes):
    with pytest.raises(UserError, match="matches no parameter"):
        make_optimizer(optim(**changes), params)
