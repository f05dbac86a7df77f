"""Project metadata: one version everywhere, and the type marker is shipped."""

import re
import tomllib

import inceptionnext_jax
from tests.runs import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_all_files_name_the_same_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    versions = {
        "pyproject.toml": PYPROJECT["project"]["version"],
        "CHANGELOG.md": re.search(r"^## \[(\d.*?)\]", changelog, re.MULTILINE)[1],
        "CITATION.cff": re.search(r"^version: (.+)$", citation, re.MULTILINE)[1],
    }
    assert versions == dict.fromkeys(versions, inceptionnext_jax.__version__)


def test_the_type_marker_is_part_of_the_package():
    assert (ROOT / "inceptionnext_jax" / "py.typed").is_file()
    files = PYPROJECT["tool"]["setuptools"]["package-data"]["inceptionnext_jax"]
    assert "py.typed" in files
