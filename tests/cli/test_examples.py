"""Every command's help page has examples, and they run as they are."""

import argparse
import os
import shlex
import subprocess
import sys

import pytest

from inceptionnext_jax.__main__ import COMMANDS, main
from tests.runs import ROOT, environment

PAGES = [[name] for name in COMMANDS if name != "explain"] + [
    ["explain", kind] for kind in ("augment", "cam", "erf")
]


def examples(page, capsys):
    """(commands that run anywhere, commands that need a network or files)."""
    with pytest.raises(SystemExit):
        main([*page, "--help"])
    text = capsys.readouterr().out
    here, elsewhere, found = [], [], None
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("examples"):
            found = here
        elif line.startswith("with "):
            found = elsewhere
        elif found is not None and line.startswith("  "):
            found.append(line.strip())
    return here, elsewhere


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_examples_on_help_pages_are_parsed(page, capsys, monkeypatch):
    here, elsewhere = examples(page, capsys)
    assert here or elsewhere
    ours = [c for c in here + elsewhere if "inceptionnext_jax " in c]
    assert any(f"inceptionnext_jax {' '.join(page)}" in command for command in ours)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for command in ours:
        words = shlex.split(command.split(" | ")[-1])
        with pytest.raises(ParsedError):
            main(words[words.index("inceptionnext_jax") + 1 :])


class ParsedError(Exception):
    pass


def parsed(self, args):
    _, unknown = self.parse_known_args(args)
    assert not unknown
    raise ParsedError


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_examples_run_as_they_are(page, tmp_path, capsys):
    for name in ("main.py", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"  # a link would leave the virtual environment
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    variables = {
        **environment(),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    commands, _ = examples(page, capsys)
    if not commands:
        pytest.skip("its examples need a network or files")
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
