"""The rows of segmentation have the settings that the papers' configs have, and are documented."""

import re

import pytest

from configs import rows

FOLDER = "configs/segmentation/"
# Batch, steps, rate, weight decay, layer decay, power, warm-up steps.
SWIN = (16, 160_000, 6e-5, 0.01, None, 1.0, 1500)
CONVNEXT = (16, 160_000, 1e-4, 0.05, 0.9, 1.0, 1500)
PVT = (32, 40_000, 2e-4, 1e-4, None, 0.9, 0)
# File -> recipe, drop path, pixels, method of evaluation.
PUBLISHED = {
    "upernet_inceptionnext_tiny": (SWIN, 0.2, 512, "whole"),  # supplement, Table 2
    "upernet_inceptionnext_small": (SWIN, 0.3, 512, "whole"),
    "upernet_inceptionnext_base": (SWIN, 0.4, 512, "whole"),
    "upernet_swin_tiny": (SWIN, 0.3, 512, "whole"),
    "upernet_swin_small": (SWIN, 0.3, 512, "whole"),
    "upernet_swin_base": (SWIN, 0.3, 512, "whole"),
    "upernet_convnext_tiny": (CONVNEXT, 0.4, 512, "slide"),
    "upernet_convnext_small": (CONVNEXT, 0.3, 512, "slide"),
    "upernet_convnext_base": (CONVNEXT, 0.4, 512, "slide"),
    "upernet_convnext_base:22k": (CONVNEXT, 0.4, 640, "slide"),
    "upernet_convnext_large:22k": (CONVNEXT, 0.4, 640, "slide"),
    "upernet_convnext_xlarge:22k": ((*CONVNEXT[:2], 8e-5, *CONVNEXT[3:]), 0.4, 640, "slide"),
    "semantic_fpn_inceptionnext_tiny": (PVT, 0.1, 512, "whole"),  # supplement, Table 2
    "semantic_fpn_inceptionnext_small": (PVT, 0.2, 512, "whole"),
    "semantic_fpn_inceptionnext_base": (PVT, 0.2, 512, "whole"),
    **{
        f"semantic_fpn_poolformer_{s}": (PVT, 0, 512, "whole") for s in ("s24", "s36", "m36", "m48")
    },
    **{
        f"semantic_fpn_resnet{depth}": ((*PVT[:2], 0.02, 5e-4, *PVT[4:]), 0, 512, "whole")
        for depth in (50, 101)
    },
}


def get_config(row, *variants):
    name, _, variant = row.partition(":")
    arg = ",".join(filter(None, (variant, *variants)))
    return rows.load(f"{FOLDER}{name}.py").get_config(arg)


@pytest.mark.parametrize("row", PUBLISHED)
def test_settings_are_those_of_the_configs_that_the_papers_name(row):
    config = get_config(row)
    optim, schedule = config.optim, config.schedule
    recipe, drop_path, size, method = PUBLISHED[row]
    assert config.model.name == row.split(":")[0]
    assert recipe == (
        config.batch_size, config.total_steps, optim.lr, optim.weight_decay, optim.layer_decay,
        schedule.power, schedule.warmup_steps,
    )  # fmt: skip
    assert optim.name == ("sgd" if "resnet" in row else "adamw")
    assert optim.layer_groups == ("stage" if optim.layer_decay else "block")
    assert optim.lr_batch_size == config.batch_size
    assert (schedule.name, schedule.per, schedule.min_lr) == ("poly", "step", 0)
    assert (config.data.image_size, config.data.resize) == (size, (4 * size, size))
    assert (config.eval.method, config.eval.scales, config.eval.flip) == (method, (1.0,), False)
    assert config.model.drop_path_rate == drop_path
    assert config.eval.multiple == (32 if row.startswith("semantic_fpn") else 1)
    several = get_config(row, "ms").eval
    assert (several.method, several.flip) == ("whole", True)
    assert several.scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def test_windows_overlap_as_the_authors_do():
    from inceptionnext_jax.models import create_model
    from inceptionnext_jax.tasks.segmentation.build import make_views

    for variant, crop, stride in (("", 512, 341), (":22k", 640, 426)):
        config = get_config(f"upernet_convnext_base{variant}")
        views = make_views(config, create_model("upernet_convnext_atto"))
        assert (views.crop, views.stride) == (crop, stride)


def test_the_table_of_the_guide_lists_every_row_with_the_figures_of_its_docstring():
    guide = (rows.ROOT / "docs/segmentation.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| `(\w+)\.py(:22k)?` \| ([\d.]+)(?: \([\d.]+\))? \| (\d+) \| ([\d,]+) \|", guide, re.M
    )
    assert {name + variant for name, variant, *_ in table} == set(PUBLISHED)
    files = {f"{FOLDER}{row.split(':')[0]}.py" for row in PUBLISHED}
    assert files == {file for file, *_ in rows.published() if file.startswith(FOLDER)}
    for name, variant, miou, params, macs in table:
        text = rows.load(f"{FOLDER}{name}.py").__doc__
        assert f"--config={FOLDER}{name}.py" in text
        if variant and "base" in name:
            assert f"{miou} %" in text
            assert f"{macs} G MACs" in text
        else:
            assert f"Reported: {miou} % mIoU, {params} M, {macs} G MACs." in text
