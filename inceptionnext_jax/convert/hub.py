"""Weight files from the Hugging Face hub, through its own cache."""

import logging
import re
from pathlib import Path

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.runtime.log_levels import log_level

PREFIX = "hf://"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that exists is taken
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(source: str) -> bool:
    """Whether `source` is hf://owner/name, or owner/name while no such path exists."""
    if source.startswith(PREFIX):
        return True
    return _NAME.fullmatch(source) is not None and not Path(source).exists()


def fetch_weights(source: str) -> Path:
    """Returns the weight file of a hub id, in huggingface_hub's cache (HF_HOME, HF_HUB_OFFLINE).

    Raises UserError if it cannot be fetched, with the address to fetch it from by hand.
    """
    name = source.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise UserError(f"{source!r} is not a hub id, expected hf://owner/name")
    from huggingface_hub import errors, hf_hub_download

    offline: errors.LocalEntryNotFoundError | None = None
    for file in WEIGHTS:
        try:
            with log_level("huggingface_hub", logging.ERROR):  # it logs every retry
                return Path(hf_hub_download(name, file))
        except errors.LocalEntryNotFoundError as error:  # no network; a subclass of the next
            offline = error
        except errors.EntryNotFoundError:
            continue
        except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
            raise _unreachable(source, name, "the hub does not show it to you") from error
        except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
            raise _unreachable(source, name, type(error).__name__) from error
    if offline:
        raise _unreachable(source, name, "no network, or HF_HUB_OFFLINE is set") from offline
    raise UserError(f"hub repository {name} holds none of {', '.join(WEIGHTS)}")


def fetch_config(source: str) -> Path | None:
    """Fetches what lies beside the weights of a hub id that were fetched.

    Returns `CONFIG`, or None if there is none; `PREPROCESSOR` lies beside it if there is one.
    """
    name = source.removeprefix(PREFIX)
    config = _fetched(name, CONFIG)
    if config is not None:
        _fetched(name, PREPROCESSOR)
    return config


def _fetched(name: str, file: str) -> Path | None:
    from huggingface_hub import errors, hf_hub_download

    try:
        with log_level("huggingface_hub", logging.ERROR):
            return Path(hf_hub_download(name, file))
    except (errors.EntryNotFoundError, errors.HfHubHTTPError, OSError):
        return None


def _unreachable(source: str, name: str, why: str) -> UserError:
    missing = "" if source.startswith(PREFIX) else f"{source} is not a file or folder here, and "
    return UserError(
        f"{missing}hub id {name} cannot be fetched ({why}); fetch "
        f"https://huggingface.co/{name}/resolve/main/{WEIGHTS[0]} and {CONFIG} beside it where "
        f"there is a network, put both into a folder on this machine, and give that folder "
        f"instead of {source}"
    )
