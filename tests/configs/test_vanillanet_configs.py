"""VanillaNet's configs: the published settings and a plan of each."""

import importlib
from pathlib import Path

import pytest

from configs import vanillanet
from inceptionnext_jax.cli.job import run_job

FOLDER = Path(vanillanet.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "recipe"))
# Rate, weight decay, mixup, layer decay, decay of the averages (supplement, Table 2).
PUBLISHED = {
    "5": (3.5e-3, 0.35, 0.1, None, 0.99996),
    "6": (4.8e-3, 0.35, 0.15, 0.8, 0.99996),
    "7": (4.8e-3, 0.35, 0.4, 0.8, 0.99996),
    "8": (3.5e-3, 0.3, 0.4, None, 0.99996),
    "9": (3.5e-3, 0.3, 0.4, None, 0.99996),
    "10": (3.5e-3, 0.25, 0.4, None, 0.99996),
    "11": (3.5e-3, 0.3, 0.8, None, 0.99992),
    "12": (3.5e-3, 0.3, 0.8, None, 0.99992),
    "13": (3.5e-3, 0.3, 0.8, 0.8, 0.99992),
    "13_x1_5": (3.5e-3, 0.3, 0.8, 0.8, 0.99992),
    "13_x1_5_ada_pool": (3.5e-3, 0.3, 0.8, 0.8, 0.99992),
}


def get_config(name, arg=""):
    return importlib.import_module(f"configs.vanillanet.{name}").get_config(arg)


@pytest.mark.parametrize("name", ["6", "digits"])
def test_plans_describe_the_slope(name, tmp_path, capsys):
    config = get_config(name)
    if name != "digits":
        config.data.dir = str(tmp_path)
    config.compilation_cache = ""
    assert run_job(config, None, "plan", None) == 0
    output = capsys.readouterr().out
    assert "verdict: runs" in output
    assert "activation slope" in output
    assert "the activations' slope ends" not in output


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_follow_the_supplement(name):
    config = get_config(name)
    optim, augment, schedule = config.optim, config.augment, config.schedule
    assert config.model.name == f"vanillanet_{name}"
    assert PUBLISHED[name] == (
        optim.lr, optim.weight_decay, augment.mixup, optim.layer_decay, config.ema_decay
    )  # fmt: skip
    assert (optim.name, config.loss.name, config.batch_size) == ("lamb", "bce", 1024)
    assert (config.total_epochs, schedule.warmup_epochs, schedule.min_lr) == (300, 5, 1e-6)
    assert (schedule.slope_epochs, schedule.slope_name) == (100, "linear")
    assert (config.model.dropout_rate, augment.cutmix) == (0.05, 1.0)
    assert augment.rand_augment == "rand-m7-mstd0.5-inc1"


def test_every_published_network_has_a_config():
    assert set(NAMES) == {*PUBLISHED, "digits"}


def test_readme_variants_follow_the_authors_commands():
    assert get_config("6", "readme").optim.weight_decay == 0.32
    assert get_config("7", "readme").optim.lr == 4.7e-3
