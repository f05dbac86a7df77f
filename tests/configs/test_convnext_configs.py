"""ConvNeXt's configs: every key is declared, their models exist, their values are allowed."""

import importlib
from pathlib import Path

import pytest

from configs import convnext, default
from inceptionnext_jax import create_model
from inceptionnext_jax.train.validate import check_values

FOLDER = Path(convnext.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "recipe"))
ARGS = [(name, arg) for name in NAMES for arg in ("", "debug")]
ARGS += [(name, arg) for name in ("base", "large") for arg in ("384", "22k", "22k_384")]
ARGS += [("xlarge", "384"), ("base", "384,debug")]


@pytest.mark.parametrize(("name", "arg"), ARGS)
def test_values_are_allowed_and_make_a_model(name, arg):
    config = importlib.import_module(f"configs.convnext.{name}").get_config(arg)
    assert not check_values(config)
    options = {key: value for key, value in config.model.items() if key != "name"}
    options["num_classes"] = options["num_classes"] or 10
    create_model(config.model.name, **options)


def test_fine_tuning_and_pre_training_are_those_of_the_appendix():
    from configs.convnext import base

    tuned, pretrained = base.get_config("384"), base.get_config("22k")
    assert (tuned.optim.lr, tuned.optim.layer_decay, tuned.model.drop_path_rate) == (5e-5, 0.7, 0.8)
    assert base.get_config("22k_384").model.drop_path_rate == 0.2
    assert (pretrained.model.num_classes, pretrained.total_epochs) == (21_841, 90)


def test_debug_of_an_isotropic_network_has_one_stage():
    config = default.get_config()
    config.model.name = "inceptionnext_small_iso"
    assert default.finish(config, "debug").model.stage_depths == (1,)
