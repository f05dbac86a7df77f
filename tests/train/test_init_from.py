"""Weights of every kind start a run or are refused; every array is accounted for."""

import shutil

import jax
import numpy as np
import pytest

from inceptionnext_jax import create_model, trees
from inceptionnext_jax.checkpoints.evaluation import NAME as EVALUATION
from inceptionnext_jax.checkpoints.evaluation import Evaluation, write_evaluation
from inceptionnext_jax.checkpoints.reading import find_step
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.convert.run_weights import load_start
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import unstack_blocks
from inceptionnext_jax.pretrained.class_names import differing_classes
from inceptionnext_jax.tasks.classification import build
from inceptionnext_jax.train.init_state import match
from tests.models.oracle import random_variables
from tests.runs import run, saved_arrays, small_config, untrained

HEAD = ("head/",)
ATTO, DEPTHS = "inceptionnext_atto", (1, 1, 1, 1)


def flat(tree):
    return dict(trees.paths_and_leaves(tree))


def arrays(**shapes):
    """{"params": {module: {"kernel": zeros}}} by keyword, for the stem, stages and so on."""
    return {"params": {name: {"kernel": np.ones(shape)} for name, shape in shapes.items()}}


# --- what fits ---


def test_every_array_is_loaded_renewed_or_unused_and_on_some_line():
    wanted = arrays(stem=(2, 2), stages_0=(3,), head=(3, 5))
    given = arrays(stem=(2, 2), stages_0=(3,), head=(3, 10), aux=(1,))
    found = match(wanted, given, "x", HEAD)
    assert found.loaded.keys() == {"params/stem/kernel", "params/stages_0/kernel"}
    assert found.notes("x") == [
        "init_from=x: 2 of 3 arrays loaded: params/stages_0 (1), params/stem (1)",
        "re-initialised (1): params/head/kernel ([3, 10], expected [3, 5])",
        "unused (1): params/aux/kernel",
    ]
    assert match(wanted, arrays(stem=(2, 2), stages_0=(3,)), "x", HEAD).renewed == {
        "params/head/kernel": "missing, expected [3, 5]"
    }


def test_statistics_of_a_classifier_may_be_of_another_number_of_classes():
    """VanillaNet's has a BatchNorm."""
    wanted, given = ({"batch_stats": {"head": {"norm": {"mean": np.ones(n)}}}} for n in (5, 10))
    found = match(wanted, given, "x", HEAD)
    assert found.renewed == {"batch_stats/head/norm/mean": "[10], expected [5]"}


def test_long_lists_are_wrapped_between_names():
    names = {f"aux_{i:03d}": (1,) for i in range(60)}
    lines = match(arrays(stem=(1,)), arrays(stem=(1,), **names), "x", HEAD).notes("x")
    assert all(len(line) <= 100 for line in lines)
    assert lines[1].startswith("unused (60): params/aux_000/kernel, ")
    assert " ".join(line.strip() for line in lines).count("/kernel") == 60


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (arrays(stem=(2, 2), head=(3,)), r"1 missing \(params/stages_0/kernel\)"),
        (arrays(stem=(2, 3), stages_0=(3,)), r"another shape \(params/stem/kernel is \[2, 3\], e"),
        (arrays(stem=(2, 2), stages_0=(3,), stages_1=(1,)), r"too many \(params/stages_1/kernel\)"),
    ],
)  # fmt: skip
def test_another_architecture_is_one_error(given, words):
    wanted = arrays(stem=(2, 2), stages_0=(3,), head=(3,))
    with pytest.raises(UserError, match=words) as error:
        match(wanted, given, "x", HEAD, hint="; it is a duck")
    assert str(error.value).startswith("init_from=x does not fit the model: ")
    assert str(error.value).endswith("; it is a duck")


def test_class_names_that_differ_are_told():
    assert differing_classes(["a", "b"], ["a", "b"]) is None
    assert differing_classes(["a", "b"], []) is None
    assert "in another order: b, a (2) there, a, b (2)" in differing_classes(["a", "b"], ["b", "a"])
    assert "of another kind" in differing_classes(["a", "b"], ["c"])


# --- where weights come from ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    run(workdir, total_steps=2, ema_decay=0.5, **{"optim.lr": 5e-3, "checkpoint.every_steps": 1})
    return workdir


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
def test_every_kind_of_file_gives_the_same_weights(tmp_path, suffix, timm):
    import torch
    from safetensors.numpy import save_file

    variables = random_variables(create_model(ATTO, num_classes=7, stage_depths=DEPTHS))
    named = to_torch(ATTO, variables, stage_depths=DEPTHS)
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(named, path)
    elif suffix == "npz":
        np.savez(path, **named)
    else:
        tensors = {name: torch.from_numpy(array) for name, array in named.items()}
        torch.save({"model": tensors, "model_ema": None, "epoch": 3}, path)
    said = []
    got, averages, meta = load_weights(path, ATTO, DEPTHS, said.append)
    assert (averages, meta) == (None, {})
    assert said == ([f"{path}: taking its entry 'model'"] if suffix == "pth" else [])
    wanted = flat(variables)
    assert flat(got).keys() == wanted.keys()
    jax.tree.map(np.testing.assert_array_equal, flat(got), wanted)


def test_a_workdir_is_its_newest_step_and_a_step_is_itself(trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    newest, averages, meta = load_weights(trained.name, ATTO, DEPTHS)
    first, *_ = load_weights(str(trained / "checkpoints/1"), ATTO, DEPTHS)
    assert meta["class_names"] == [str(digit) for digit in range(10)]
    assert find_step(trained).name == "2"
    kernel = newest["params"]["stem"]["conv"]["kernel"]
    assert (first["params"]["stem"]["conv"]["kernel"] != kernel).any()
    assert (averages["params"]["stem"]["conv"]["kernel"] != kernel).any()


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """The same run, whose first step has the better score."""
    workdir = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "run")
    for step, top1 in ((1, 0.9), (2, 0.1)):
        scores = {"eval/top1": top1, "eval_ema/top1": 1 - top1}
        write_evaluation(workdir / "checkpoints" / str(step), Evaluation(scores))
    return workdir


@pytest.mark.parametrize(
    ("behind", "step", "averaged"),
    [
        ("", 2, True),
        (":newest", 2, True),
        (":params", 2, False),
        (":best", 1, True),
        (":best,params", 1, False),
        (":ema,best", 1, True),
        ("/checkpoints/1:params", 1, False),
    ],
)
def test_a_start_is_chosen_by_step_and_kind(evaluated, behind, step, averaged):
    variables, averages, _ = load_weights(evaluated / "checkpoints" / str(step), ATTO, DEPTHS)
    wanted = flat(averages if averaged else variables)
    said = []
    got, meta = load_start(f"{evaluated}{behind}", ATTO, DEPTHS, said.append)
    assert meta["step"] == step
    jax.tree.map(np.testing.assert_array_equal, flat(got), wanted)
    assert (f"init_from={evaluated}{behind}: taking the averaged weights" in said) == averaged
    assert (f"init_from={evaluated}{behind}: taking step 1" in said) == ("best" in behind)


def test_without_a_score_the_newest_step_is_the_best(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    (workdir / "checkpoints" / "2" / EVALUATION).unlink()
    _, meta = load_start(f"{workdir}:best", ATTO, DEPTHS, print)
    assert meta["step"] == 2


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (":bset", "'bset' is not one of newest, best, params, ema; did you mean best?"),
        (":best,rma", "'rma' is not one of newest, best, params, ema"),
        (":best,newest", "best and newest exclude each other"),
        (":params,ema", "params and ema exclude each other"),
        ("/checkpoints/1:best", "is no workdir with checkpoints"),
    ],
)
def test_an_unknown_or_impossible_start_is_refused(evaluated, behind, words):
    with pytest.raises(UserError) as error:
        load_start(f"{evaluated}{behind}", ATTO, DEPTHS, print)
    assert str(error.value).startswith(f"init_from={evaluated}{behind}: ")
    assert words in str(error.value)


def test_a_start_from_what_a_run_or_file_lacks_is_refused(tmp_path):
    variables = random_variables(create_model(ATTO, num_classes=7, stage_depths=DEPTHS))
    path = tmp_path / "w.npz"
    np.savez(path, **to_torch(ATTO, variables, stage_depths=DEPTHS))
    with pytest.raises(UserError, match=r"only a run has ema; .*w.npz is a weight file"):
        load_start(f"{path}:ema", ATTO, DEPTHS, print)
    with pytest.raises(UserError, match="is no workdir with checkpoints"):
        load_start(f"{path}:best", ATTO, DEPTHS, print)
    untrained(tmp_path / "run", small_config())
    with pytest.raises(UserError, match=r"the run kept no averages .*; take params"):
        load_start(f"{tmp_path / 'run'}:ema", ATTO, DEPTHS, print)


@pytest.mark.parametrize("source", ["nowhere/at/all", "/nowhere", "weights.h5"])
def test_what_is_no_weights_says_what_would_be(source):
    with pytest.raises(UserError, match=f"^{source} holds no weights: expected a workdir"):
        load_weights(source, ATTO)


def test_a_file_of_another_model_is_one_short_error(tmp_path):
    variables = random_variables(create_model(ATTO, num_classes=7, stage_depths=DEPTHS))
    np.savez(tmp_path / "w.npz", **to_torch(ATTO, variables, stage_depths=DEPTHS))
    with pytest.raises(UserError, match=r"does not fit model.name=inceptionnext_tiny: \d+ missing"):
        load_weights(tmp_path / "w.npz", "inceptionnext_tiny")
    with pytest.raises(UserError) as error:
        load_weights(tmp_path / "w.npz", ATTO)
    assert len(str(error.value)) < 600


# --- runs that start from them ---


def test_a_scanned_run_starts_from_plain_weights(trained, tmp_path, capsys):
    """The averages of a plain checkpoint, bit for bit, in the stacked layout and back."""
    changes = {"model.scan": True, "init_from": str(trained), "model.drop_path_rate": 0.0}
    frozen = {"optim.freeze": ".", "total_steps": 1, "checkpoint.every_steps": 0}
    run(tmp_path, **changes, **frozen)
    output = capsys.readouterr().out
    assert f"init_from={trained}: taking the averaged weights" in output
    assert "90 of 90 arrays loaded" in output
    assert "re-initialised" not in output
    assert any("/blocks/" in path for path in saved_arrays(tmp_path, 1))
    wanted = flat(load_weights(trained, ATTO, DEPTHS)[1]["params"])
    got, _, _ = load_weights(tmp_path, ATTO, DEPTHS)
    jax.tree.map(np.testing.assert_array_equal, flat(unstack_blocks(got["params"])), wanted)


def test_a_checkpoint_of_another_depth_or_model_is_refused(trained, tmp_path):
    depth = {"init_from": str(trained), "model.stage_depths": (1, 1, 2, 1)}
    hint = (
        r"it was trained with model.name=inceptionnext_atto and model.stage_depths=\(1, 1, 1, 1\)"
    )
    with pytest.raises(UserError, match=f"missing .*stages_2/blocks_1.*{hint}"):
        run(tmp_path / "deep", **depth)
    with pytest.raises(UserError, match=f"of another shape .*{hint}"):
        run(tmp_path / "wide", **{"init_from": str(trained), "model.name": "inceptionnext_tiny"})


def test_evaluation_takes_a_torch_file_and_refuses_other_classes(trained, tmp_path, timm, capsys):
    import torch

    from inceptionnext_jax.cli import job

    variables, _, meta = load_weights(trained, ATTO, DEPTHS)
    named = to_torch(ATTO, variables, stage_depths=DEPTHS)
    tensors = {f"module.{name}": torch.from_numpy(array) for name, array in named.items()}
    torch.save({"state_dict": tensors}, tmp_path / "w.pt")
    run(trained, "eval", total_steps=2)
    wanted = [line for line in capsys.readouterr().out.splitlines() if line.startswith("eval/")]
    run(tmp_path, "eval", str(tmp_path / "w.pt"), total_steps=2)
    assert [w for w in capsys.readouterr().out.splitlines() if w.startswith("eval/")] == wanted
    config, said = small_config(), []
    task, names = build.build(config, build.open_data(config)).task, meta["class_names"]

    def check(class_names):
        job._check_origin(task.difference({"class_names": class_names}), "x", said.append)

    check(names)
    check([f"digit {name}" for name in names])
    assert len(said) == 1
    assert said[0].startswith("warning: checkpoint x has classes of another kind: digit 0,")
    for other in (names[::-1], names[:5]):
        with pytest.raises(UserError, match="evaluate it on data with the classes"):
            check(other)
