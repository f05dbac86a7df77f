"""The worked example of docs/segmentation.md runs as it is printed."""

import re
import shlex
import subprocess

import pytest
from PIL import Image

from inceptionnext_jax.cli.flags import config_from
from inceptionnext_jax.cli.job import run_job
from inceptionnext_jax.errors import UserError
from tests.guides import prepared, run_commands
from tests.runs import ROOT, metrics

TEXT = (ROOT / "docs/segmentation.md").read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("## A worked example") : TEXT.index("## Your own folder")]
BLOCKS = re.findall(r"^```(python)?\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
(FOLDER,) = [code for language, code in BLOCKS if language == "python"]
SHELL = [
    code for language, code in BLOCKS if not language and re.match("SMALL|printf|python", code)
]


def commands():
    """The flags of main.py in the example's commands, in order."""
    small = shlex.split(re.search(r'SMALL="(.*?)"', EXAMPLE, re.DOTALL)[1])
    for line in "".join(SHELL).replace("\\\n", "").splitlines():
        words = shlex.split(line) if line.startswith("python main.py") else []
        if words:
            at = words.index("$SMALL") if "$SMALL" in words else len(words)
            yield [*words[2:at], *small * (at < len(words)), *words[at + 1 :]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the snippet's folder of pairs in it."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, FOLDER, "docs/segmentation.md")
    return tmp_path


def test_the_plan_refuses_the_folder_and_then_draws_it(here, capsys):
    plans = [flags for flags in commands() if "--mode=plan" in flags]
    assert len(plans) == 2
    config = config_from([f for f in plans[0] if f.startswith("--config")])
    with pytest.raises(UserError) as refused:
        run_job(config, None, "plan", None)
    assert f"error: {refused.value}\n" in EXAMPLE
    capsys.readouterr()
    (fix,) = [line for code in SHELL for line in code.splitlines() if line.startswith("printf")]
    subprocess.run(["bash", "-c", fix], check=True, cwd=here)
    (to,) = [flag.removeprefix("--to=") for flag in plans[1] if flag.startswith("--to=")]
    assert run_job(config, None, "plan", None, to) == 0
    output = capsys.readouterr().out
    assert output[output.index("labels in a sample") :].strip() in EXAMPLE
    assert min(Image.open(here / to).size) > 500


def test_the_keys_of_the_commands_exist():
    found = list(commands())
    assert len(found) == 5
    for flags in found:
        config_from([flag for flag in flags if flag.startswith("--config")])


@pytest.mark.slow
def test_the_whole_example_runs(here):
    done = run_commands("".join(SHELL), here)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "hold only the ids 0 and 255" in done.stderr  # the first plan
    assert metrics(here / "out/masks-run")[-1]["eval/miou"] > 0.8
    assert len(list((here / "out/maps").glob("*_overlay.png"))) == 40
    assert (here / "out/deployed/model.onnx").exists()
