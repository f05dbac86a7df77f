"""Command-line flags into a config; each mistake is reported in one sentence."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from inceptionnext_jax.checks import flattened
from inceptionnext_jax.errors import UserError, suggestion


def config_from(given: list[str]) -> ConfigDict:
    """Returns the locked config of `--config=FILE[:VARIANT]` and `--config.KEY=VALUE` flags.

    For commands that parse their other flags themselves; raises UserError as `parse` does.
    """
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    with _sys_argv(["", *given]) as argv:
        return parse(values, argv)


def parse(values: flags.FlagValues, argv: list[str]) -> ConfigDict:
    """Parses `argv` (the program's name first) and returns the locked config.

    Raises UserError for an unknown flag, key or variant, a value of the wrong type, or a config
    file that cannot be loaded.
    """
    try:
        rest = values(argv)
        config = values.config
        # ml_collections reports a file that cannot be loaded only when it is used.
        is_given = config is not None and config.to_dict() is not None
    except Exception as error:  # a config file is Python and may raise anything
        raise UserError(_unknown_key(values, argv) or _one_line(error, argv)) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags begin with --")
    if not is_given:
        raise UserError("--config is required: a file such as configs/tiny.py")
    return config


@contextmanager
def _sys_argv(argv: list[str]) -> Iterator[list[str]]:
    """Sets sys.argv, where ml_collections looks for overrides while it parses --config."""
    before, sys.argv = sys.argv, argv
    try:
        yield argv
    finally:
        sys.argv = before


def _unknown_key(values: flags.FlagValues, argv: list[str]) -> str | None:
    """Returns a sentence on the first override whose key the config lacks, if there is one."""
    overrides = [arg for arg in argv[1:] if arg.lstrip("-").startswith("config.")]
    rest = [arg for arg in argv if arg not in overrides]
    with _sys_argv(rest):
        try:
            values(rest)
            config: Any = values.config
            config.to_dict()
        except Exception:  # not an override's fault
            return None
    for override in overrides:
        key = override.lstrip("-").split("=")[0].removeprefix("config.")
        node = config
        for part in key.split("."):
            if not isinstance(node, ConfigDict) or part not in node:
                choices = list(node) if isinstance(node, ConfigDict) else []
                hint = _owners(key) + suggestion(part, choices)
                return f"--config.{key} is not a config key{hint}"
            node = node[part]
    return None


def _owners(key: str) -> str:
    """Returns "; it is a key of the task …" for those of `configs/tasks/` that declare a key."""
    try:
        tasks = importlib.import_module("configs.tasks")
        modules = [
            importlib.import_module(f"configs.tasks.{module.name}")
            for module in pkgutil.iter_modules(tasks.__path__)
        ]
    except ImportError:  # a config file from elsewhere
        return ""
    owners = [
        module.__name__.split(".")[-1]
        for module in modules
        if key in flattened(module.get_config())
    ]
    return f"; it is a key of the task {' and '.join(owners)}" if owners else ""


def _one_line(error: Exception, argv: list[str]) -> str:
    """Returns an error's message on one line, or the last line of the traceback that it quotes."""
    text = str(error)
    if "Failed loading config file" in text or "Traceback" in text:
        last = text.strip().splitlines()[-1].strip()
        named = [arg for arg in argv[1:] if arg.lstrip("-").startswith("config=")]
        return f"{named[-1] if named else '--config'} cannot be loaded ({last})"
    return " ".join(text.split())
