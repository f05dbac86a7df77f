"""The worked example of docs/detection.md runs as it is printed."""

import re
import shlex

import pytest
from PIL import Image

from inceptionnext_jax.__main__ import main
from inceptionnext_jax.cli.flags import config_from
from inceptionnext_jax.cli.job import run_job
from tests.guides import prepared, run_commands
from tests.runs import ROOT, metrics

TEXT = (ROOT / "docs/detection.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(python)?\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
(DATA,) = [code for language, code in BLOCKS if language == "python"]
SHELL = [code for language, code in BLOCKS if not language and re.match(" *(SMALL|python)", code)]
EXAMPLE = "".join(code for code in SHELL if "out/loops" in code or "$SMALL" in code)
SMALL = shlex.split(re.search(r'SMALL="(.*?)"', EXAMPLE, re.DOTALL)[1])


def commands(start):
    """The words after `start` in the guide's commands, in order."""
    found = []
    for line in "".join(SHELL).replace("\\\n", "").splitlines():
        words = shlex.split(line) if line.strip().startswith(start) else []
        if words:
            words = words[len(start.split()) :]
            at = words.index("$SMALL") if "$SMALL" in words else len(words)
            found.append([*words[:at], *SMALL * (at < len(words)), *words[at + 1 :]])
    return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the snippet's data in it."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, DATA, "docs/detection.md")
    return tmp_path


def test_the_keys_of_the_commands_exist():
    found = commands("python main.py")
    assert len(found) == 5
    for flags in found:
        config_from([flag for flag in flags if flag.startswith("--config")])


def test_the_plan_accepts_the_data_and_the_picture_shows_them(here, capsys):
    plan, *_ = [flags for flags in commands("python main.py") if "--mode=plan" in flags]
    config = config_from([flag for flag in plan if flag.startswith("--config")])
    assert run_job(config, None, "plan", None) == 0
    assert re.search(r"data +coco +300 train, 60 eval", capsys.readouterr().out)
    explain, *others = commands("python -m inceptionnext_jax")
    assert [words[0] for words in others] == ["predict", "export"]
    assert main(explain) == 0
    (to,) = [word.removeprefix("--to=") for word in explain if word.startswith("--to=")]
    assert min(Image.open(here / to).size) > 500


def test_the_pictures_and_documents_that_it_names_are_there():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT)
    assert {"objects_augment.png", "objects_worst.png", "data.md"} <= set(links)
    assert all((ROOT / "docs" / link).is_file() for link in links)


@pytest.mark.slow
def test_the_whole_example_runs(here):
    done = run_commands(f"set -e\n{EXAMPLE}", here)
    assert done.returncode == 0, done.stderr[-2000:]
    last = metrics(here / "out/loops-run")[-1]
    assert last["eval/box_ap50"] > 0.8
    assert last["eval/mask_ap50"] > 0.8
    run = here / "out/loops-run"
    for name in ("eval.json", "per_class.csv", "detections.json", "detections_segm.json",
                 "precision_recall.png", "worst.png"):  # fmt: skip
        assert (run / name).is_file(), name
    assert len(list((here / "out/objects").glob("*_picture.png"))) == 60
    assert (here / "out/deployed/model.stablehlo").is_file()
