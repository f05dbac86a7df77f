"""The rows of detection have the settings that the papers' configs have, and are documented."""

import re

import pytest

from configs import rows

FOLDER = "configs/detection/"
MANY, MORE = tuple(range(480, 801, 32)), tuple(range(480, 1025, 32))
# Batch, epochs, falls of the rate, short sides, share of crops, weight decay.
THREE = (16, 36, (27, 33), MANY, 0.5, 0.05)
ONE = (16, 12, (8, 11), (800,), 0, 1e-4)
VANILLA = (32, 12, (10, 11), MORE, 0, 0.05)
# Optimizer, rate, layer decay, drop path.
SWIN = ("adamw", 1e-4, None)
CASCADE = "cascade_mask_rcnn_"
PUBLISHED = {
    "mask_rcnn_convnext_tiny": (THREE, "adamw", 1e-4, 0.95, 0.4),
    "mask_rcnn_swin_tiny": (THREE, *SWIN, 0.2),
    f"{CASCADE}resnet50": (THREE, *SWIN, 0),
    f"{CASCADE}resnext101_32x4d": (THREE, *SWIN, 0),
    f"{CASCADE}resnext101_64x4d": (THREE, *SWIN, 0),
    f"{CASCADE}swin_tiny": (THREE, *SWIN, 0.2),
    f"{CASCADE}swin_small": (THREE, *SWIN, 0.2),
    f"{CASCADE}swin_base": (THREE, *SWIN, 0.3),
    f"{CASCADE}swin_base:22k": (THREE, *SWIN, 0.3),
    f"{CASCADE}swin_large": (THREE, *SWIN, 0.3),
    f"{CASCADE}convnext_tiny": (THREE, "adamw", 2e-4, 0.7, 0.4),
    f"{CASCADE}convnext_small": (THREE, "adamw", 2e-4, 0.7, 0.6),
    f"{CASCADE}convnext_base": (THREE, "adamw", 2e-4, 0.8, 0.7),
    f"{CASCADE}convnext_base:22k": (THREE, "adamw", 1e-4, 0.8, 0.6),
    f"{CASCADE}convnext_large": (THREE, "adamw", 1e-4, 0.7, 0.7),
    f"{CASCADE}convnext_xlarge": (THREE, "adamw", 1e-4, 0.7, 0.8),
    "retinanet_vanillanet_13": (VANILLA, "adamw", 8e-5, 0.6, 0),
    "mask_rcnn_vanillanet_13": ((32, 12, (10, 12), MORE, 0, 0.05), "adamw", 1.3e-4, 0.6, 0),
    "mask_rcnn_resnet50": (ONE, "sgd", 0.02, None, 0),
    "retinanet_resnet50": (ONE, "sgd", 0.01, None, 0),
    **{
        f"{system}_{backbone}": (ONE, "adamw", rate, None, drop_path)
        for system, rate in (("mask_rcnn", 2e-4), ("retinanet", 1e-4))
        for backbone, drop_path in (
            ("inceptionnext_tiny", 0.1), ("inceptionnext_small", 0.2), ("inceptionnext_base", 0.2),
            ("poolformer_s12", 0), ("poolformer_s24", 0), ("poolformer_s36", 0),
        )
    },
}  # fmt: skip


def get_config(row, *variants):
    name, _, variant = row.partition(":")
    arg = ",".join(filter(None, (variant, *variants)))
    return rows.load(f"{FOLDER}{name}.py").get_config(arg)


@pytest.mark.parametrize("row", PUBLISHED)
def test_settings_are_those_of_the_configs_that_the_papers_name(row):
    config = get_config(row)
    optim, schedule, augment, data = config.optim, config.schedule, config.augment, config.data
    recipe, name, rate, layer_decay, drop_path = PUBLISHED[row]
    assert config.model.name == row.split(":")[0]
    assert recipe == (
        config.batch_size, config.total_epochs, schedule.decay_epochs, augment.shorts,
        augment.crop_prob, optim.weight_decay,
    )  # fmt: skip
    assert (optim.name, optim.lr, optim.layer_decay) == (name, rate, layer_decay)
    assert config.model.drop_path_rate == drop_path
    groups = {"convnext": "triple", "vanillanet": "pair"}
    family = re.search("convnext|vanillanet|$", row)[0]
    assert optim.layer_groups == groups.get(family, "block")
    assert (optim.b1, optim.b2, optim.momentum, optim.lr_mult) == (0.9, 0.999, 0.9, ())
    assert optim.lr_batch_size == config.batch_size
    assert (schedule.name, schedule.per, schedule.decay_rate) == ("step", "step", 0.1)
    assert (schedule.warmup_steps, schedule.warmup_factor) == (500, 1e-3)
    assert (schedule.warmup, schedule.cooldown_epochs) == ("scaled", 0)
    assert (optim.clip_norm, config.ema_decay, config.model.bn_group_size) == (None, None, 0)
    assert (data.resize, augment.long, augment.hflip) == ((1333, 800), 1333, 0.5)
    assert (augment.crop_shorts, augment.crop) == ((400, 500, 600), (384, 600))
    short = 1024 if "vanillanet" in row else 800
    assert data.canvases == ((short, 1344), (1344, short))
    assert config.model.act_num == (4 if "vanillanet" in row else None)


@pytest.mark.parametrize("row", PUBLISHED)
def test_only_resnets_have_frozen_layers(row):
    config = get_config(row)
    frozen = "resne" in row
    assert config.optim.freeze == (r"^backbone/(stem|stages_0)/" if frozen else "")
    assert config.head.frozen_norm == (True if frozen else None)


@pytest.mark.parametrize("system", ["mask_rcnn", "retinanet"])
def test_the_supplements_rate_of_vanillanet_falls_linearly(system):
    plain, linear = (get_config(f"{system}_vanillanet_13{v}") for v in ("", ":linear"))
    assert (linear.schedule.name, linear.schedule.power) == ("poly", 1)
    assert (linear.schedule.min_lr, linear.schedule.decay_epochs) == (0, ())
    linear.schedule = plain.schedule
    assert linear == plain


def test_every_row_has_a_file_with_its_command_and_figures():
    files = {f"{FOLDER}{row.split(':')[0]}.py" for row in PUBLISHED}
    assert files == {file for file, *_ in rows.published() if file.startswith(FOLDER)}
    assert sum(row.startswith(CASCADE) for row in PUBLISHED) == 14
    for file in files:
        text = rows.load(file).__doc__
        assert f"--config={file}" in text
        assert "--config.init_from=" in text
        unpublished = "inceptionnext" in file
        assert re.search("No figures are" if unpublished else r"Reported: \d\d.\d box AP", text)
        assert ("mask AP" in text) == ("mask_rcnn" in file and not unpublished)


def test_the_table_of_the_document_lists_every_row_with_the_figures_of_its_docstring():
    document = (rows.ROOT / "docs/reproducing.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+_rcnn_\w+|retinanet_\w+)\.py(:22k)?` \| (\S*) \| (\S*) \|",
                       document, re.M)  # fmt: skip
    assert {name + variant for name, variant, *_ in table} == set(PUBLISHED)
    for name, variant, box, mask in table:
        text = " ".join(rows.load(f"{FOLDER}{name}.py").__doc__.split())
        figures = re.search("reported (.*)" if variant else "Reported: (.*)", text)
        found = re.findall(r"(\d\d\.\d) (box|mask) AP", figures[1])[:2] if figures else []
        wanted = [(figure, kind) for figure, kind in ((box, "box"), (mask, "mask")) if figure]
        assert found == wanted, name
