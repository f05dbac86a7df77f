"""The comments of the config files list exactly the choices that the code accepts."""

import re
from pathlib import Path

import pytest

from configs import rows
from configs.default import get_config
from inceptionnext_jax.checks import flattened
from inceptionnext_jax.tasks.check import check

FILES = [rows.ROOT / "configs/default.py", *sorted((rows.ROOT / "configs/tasks").glob("*.py"))]


def comments(file: Path) -> dict[str, str]:
    """{"section.key": the comment behind its line, after those on the lines directly above}."""
    found: dict[str, str] = {}
    above = ""
    for line in file.read_text().splitlines():
        code, _, behind = line.partition("  # ")
        if match := re.match(r" +([a-z_.0-9]+) = ", code):
            # The first line declares a key; later ones are the small variants'.
            found.setdefault(match[1].removeprefix("config."), f"{above} {behind}".strip())
        stripped = line.strip()
        above = f"{above} {stripped[2:]}".strip() if stripped.startswith("# ") else ""
    return found


# A task repeats some of the shared keys with values of its own, without their comments.
COMMENTS = {key: text for file in reversed(FILES) for key, text in comments(file).items()}


def choices(key: str) -> list[str]:
    """Returns what an error about a key's value says is accepted; empty for other keys."""
    config = get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: "no such choice"})
    (problem,) = [*check(config, devices=1), ""][:1]
    found = re.search(r"(?:is not one of|expected one of|give one of) ([^;]*)", problem)
    return found[1].split(", ") if found and problem.startswith(key) else []


CHOICES = {key: found for key in flattened(get_config()) if (found := choices(key))}


def test_the_choice_keys_are_found():
    known = {"task", "model.depthwise_impl", "model.remat", "model.norm", "augment.order"}
    assert known < set(CHOICES)
    assert len(CHOICES) > 15


@pytest.mark.parametrize("key", sorted(set(CHOICES) - {"checkpoint.best_metric"}))
def test_a_comment_lists_the_choices_of_the_code(key):
    alternatives = COMMENTS[key].split(" | ")
    words = [set(re.findall(r"\w+", text)) & set(CHOICES[key]) for text in alternatives]
    assert all(words), f"{COMMENTS[key]!r} lists others than {CHOICES[key]}"
    assert set.union(*words) == set(CHOICES[key])
    assert len(alternatives) == len(CHOICES[key])
