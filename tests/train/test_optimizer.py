"""The optimizers against timm's, and the parameters that decay, are frozen or have own rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import inceptionnext_jax as inx
from configs import default
from inceptionnext_jax import trees
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train.optimizer import DECAY_RULES, make_optimizer


def optim(**changes) -> ConfigDict:
    config = default.get_config().optim
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def params():
    model = inx.create_model("inceptionnext_atto", num_classes=7, stage_depths=(1, 1, 1, 1))
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]


SHAPES = {"a": {"kernel": (5, 3), "bias": (3,)}, "zero": {"kernel": (4, 2)}}


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_twenty_steps_equal_timms(timm, name, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        ours, theirs, first = both_after_twenty_steps(name, dtype)
    for path, wanted in theirs.items():
        assert ours[path].dtype == wanted.dtype == dtype
        assert abs(ours[path] - wanted).max() <= tolerance * abs(wanted).max(), path
    for path, wanted in first.items():  # the first direction, which a small rate would hide
        assert abs(wanted[0] - wanted[1]).max() <= tolerance * abs(wanted[1]).max(), path


def both_after_twenty_steps(name: str, dtype: str):
    """Returns our and timm's parameters by path, and both first directions by path."""
    import torch
    from timm.optim import create_optimizer_v2

    rng = np.random.default_rng(0)
    draw = lambda shape: rng.normal(size=shape).astype(dtype)  # noqa: E731
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    start = jax.tree.map(draw, SHAPES, is_leaf=is_shape)
    start["zero"]["kernel"] *= 0  # LAMB's trust ratio is 1 there
    # LAMB clips some of them: norms lie on both sides of 1.
    gradients = [
        jax.tree.map(lambda shape, i=i: draw(shape) * (0.1 if i % 2 else 3), SHAPES,
                     is_leaf=is_shape) for i in range(20)
    ]  # fmt: skip
    rates = [1e-3 * (1 + i / 7) for i in range(20)]
    theirs = {path: torch.nn.Parameter(torch.tensor(leaf))
              for path, leaf in trees.paths_and_leaves(start)}  # fmt: skip
    kernels, biases = ([p for path, p in theirs.items() if kind in path]
                       for kind in ("kernel", "bias"))  # fmt: skip
    groups = [{"params": kernels, "weight_decay": 0.05}, {"params": biases, "weight_decay": 0.0}]
    eps = {} if name == "sgd" else {"eps": 1e-8}
    reference = create_optimizer_v2(groups, opt=name, lr=1.0, momentum=0.9, **eps)

    tx, _, _ = make_optimizer(optim(name=name), start)
    ours, state = jax.tree.map(jnp.asarray, start), tx.init(start)
    first = {}
    for gradient, lr in zip(gradients, rates, strict=True):
        before = {path: p.detach().clone() for path, p in theirs.items()}
        for path, leaf in trees.paths_and_leaves(gradient):
            theirs[path].grad = torch.tensor(leaf)
        for group in reference.param_groups:
            group["lr"] = 1.0 if not first else lr
        reference.step()
        direction, state = tx.update(gradient, state, ours)
        if not first:  # at rate 1, before it is rounded in the sum with the parameter
            for path, leaf in trees.paths_and_leaves(direction):
                first[path] = (np.asarray(leaf), (theirs[path].detach() - before[path]).numpy())
            lr = 1.0
        ours = jax.tree.map(lambda p, d, lr=lr: p + lr * d, ours, direction)
    ours = {path: np.asarray(leaf) for path, leaf in trees.paths_and_leaves(ours)}
    return ours, {path: p.detach().numpy() for path, p in theirs.items()}, first


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


def test_a_parameter_that_no_decay_rule_covers_is_an_error():
    with pytest.raises(UserError, match="block/mystery"):
        make_optimizer(optim(), {"block": {"mystery": jnp.zeros(3), "kernel": jnp.zeros((2, 2))}})


def test_freeze_and_lr_mult_set_factors_by_first_match(params):
    factors = make_optimizer(
        optim(freeze="^stem/", lr_mult=(("^head/fc2", 10.0), ("^head/", 2.0))), params
    ).rate_factors
    flat = dict(trees.paths_and_leaves(factors))
    assert flat["stem/conv/kernel"] == 0.0
    assert flat["head/fc2/kernel"] == 10.0
    assert flat["head/fc1/kernel"] == 2.0
    assert flat["stages_0/blocks_0/gamma"] == 1.0


def test_patterns_see_plain_paths_in_stacked_parameters(params):
    changes = {"freeze": "stages_2/blocks_1/mlp", "lr_mult": (("blocks_0/gamma", 3.0),)}
    stacked = {"stages_2": {"blocks": {"gamma": jnp.ones((2, 5)),
                                       "mlp": {"kernel": jnp.ones((2, 5, 5))}}}}  # fmt: skip
    factors = make_optimizer(optim(**changes), stacked).rate_factors["stages_2"]["blocks"]
    np.testing.assert_array_equal(factors["gamma"], [[3.0], [1.0]])
    np.testing.assert_array_equal(factors["mlp"]["kernel"], [[[1.0]], [[0.0]]])


@pytest.mark.parametrize("changes", [{"freeze": "steem"}, {"lr_mult": (("hed", 2.0),)}])
def test_a_pattern_that_matches_nothing_is_refused(params, changes):
    with pytest.raises(UserError, match="matches no parameter"):
        make_optimizer(optim(**changes), params)
