"""What a run writes down about the code that it is run by."""

import subprocess
from pathlib import Path

from inceptionnext_jax.workdir import description


def test_only_a_clones_own_commit_is_recorded(monkeypatch, tmp_path):
    """Not that of a project in whose repository the package is installed."""

    def git(*words):
        user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *user, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    module = Path("inceptionnext_jax") / "workdir" / "description.py"
    for root, is_recorded in ((tmp_path, True), (tmp_path / "site-packages", False)):
        (root / module).parent.mkdir(parents=True)
        monkeypatch.setattr(description, "__file__", str(root / module))
        assert (description.git_commit() is not None) == is_recorded
