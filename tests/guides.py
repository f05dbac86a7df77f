"""Guides with commands to copy: a folder in which they are run, and the run."""

import os
import shlex
import subprocess
import sys

from tests.runs import ROOT


def prepared(folder, code, document):
    """Links what the commands need into an empty folder and runs the guide's Python there."""
    for name in ("main.py", "configs"):
        (folder / name).symlink_to(ROOT / name)
    exec(compile(code, document, "exec"), {})


def run_commands(script, folder):
    """Runs the commands of a guide in this environment, and returns the finished process."""
    (folder / "bin").mkdir()
    python = folder / "bin/python"  # a link would leave the virtual environment
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    variables = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
