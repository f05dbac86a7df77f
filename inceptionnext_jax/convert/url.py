"""Weight files from the web, kept in a cache and checked by their SHA-256."""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from inceptionnext_jax.convert.files import is_weight_file
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import cache_folder, replaced

_TIMEOUT_SECONDS = 30
_BLOCK = 1 << 20
# PyTorch's hub puts the first digits of a file's SHA-256 at the end of its name.
_NAMED_SUM = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def is_url(source: str) -> bool:
    """Whether `source` is a web address."""
    return source.startswith(("https://", "http://"))


def cached_path(address: str) -> Path:
    """Returns the path for the file at `address` in the cache (XDG_CACHE_HOME or ~/.cache)."""
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
    safe = re.sub(r"[^\w.-]", "_", name)
    if not is_weight_file(Path(safe)):
        raise UserError(
            f"{address} is not the address of a weight file: it should end in .safetensors, .npz, "
            f".pth, .pt or .bin"
        )
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return cache_folder() / f"{digest}-{safe}"


def fetch(
    address: str, sha256: str | None = None, say: Callable[[str], None] = lambda text: None
) -> Path:
    """Returns the file at `address`, from the cache if it is there.

    Args:
      address: https://…, or http://… together with `sha256`.
      sha256: Expected SHA-256, 64 hexadecimal digits; None takes the digits at the end of the
        file's name, if any.
      say: Receives the sum of a file whose sum was unknown.

    Raises:
      UserError: The file cannot be fetched, or has another sum; nothing is kept then.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"sha256={sha256!r} is not 64 hexadecimal digits")
    if address.startswith("http://") and sha256 is None:
        raise UserError(f"{address} is not encrypted; give the file's SHA-256 or use https://")
    path = cached_path(address)
    named = _NAMED_SUM.search(path.name)
    wanted = (sha256 or (named[1] if named else "")).lower()
    if path.is_file():
        _check(address, path, _sum(path), wanted)
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            _download(address, temporary)
            found = _sum(temporary)
            _check(address, None, found, wanted)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        is_answer = isinstance(error, urllib.error.HTTPError)  # "HTTP Error 404: Not Found"
        why = error if is_answer else getattr(error, "reason", None) or error
        raise UserError(
            f"{address} cannot be fetched ({why}); fetch it where there is a network, put it at "
            f"{path} or anywhere on this machine, and give its path instead"
        ) from error
    if not wanted:
        say(f"{address}: kept as {path}, sha256 {found}")
    return path


def _download(address: str, path: Path) -> None:
    with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
        claimed = int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(path.parent).free
        if claimed > free:
            raise OSError(f"it claims {claimed:,} bytes, {free:,} are free")
        with path.open("wb") as file:
            shutil.copyfileobj(answer, file, _BLOCK)
            if claimed and file.tell() != claimed:
                raise OSError(f"got {file.tell():,} of {claimed:,} bytes")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(address: str, kept: Path | None, found: str, wanted: str) -> None:
    if not found.startswith(wanted):
        where = f" (kept as {kept}: remove it to fetch it again)" if kept else ""
        raise UserError(
            f"{address} has SHA-256 {found}, expected {wanted}{where}; it is another file or was "
            f"changed on the way"
        )
