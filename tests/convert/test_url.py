"""Weights from a web server: fetched once, and kept only with the right SHA-256."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from inceptionnext_jax.convert import url
from inceptionnext_jax.errors import UserError

DATA = b"weights" * 1000
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(address, list of the requested paths)."""
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            if "none" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            length = len(DATA) if "huge" not in self.path else 10**15
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(DATA[: 10 if "cut" in self.path else None])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", requested
    httpd.shutdown()
    httpd.server_close()


def kept(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_is_fetched_once_and_kept(server, tmp_path):
    address, requested = server
    path = url.fetch(f"{address}/a/w.pth", SUM)
    assert path.read_bytes() == DATA
    assert url.fetch(f"{address}/a/w.pth", SUM.upper()) == path
    assert requested == ["/a/w.pth"]
    assert kept(tmp_path) == [path]
    with pytest.raises(UserError, match=f"has SHA-256 {SUM}, expected 000.*remove it"):
        url.fetch(f"{address}/a/w.pth", "0" * 64)


def test_a_sha256_in_the_name_is_checked(server, tmp_path):
    address, _ = server
    messages = []
    # As with https; the test's server has no certificate.
    assert url.fetch(f"{address}/w-{SUM[:8]}.pth", SUM, messages.append).is_file()
    assert messages == []
    with pytest.raises(UserError, match=r"expected 00000000;"):
        url._check(f"{address}/w-00000000.pth", None, SUM, "00000000")


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/w.pth", "0" * 64, "expected 000"),
        ("/none.pth", SUM, "404.*put it at .*none.pth"),
        ("/cut.pth", SUM, "got 10 of 7,000 bytes|IncompleteRead"),
        ("/huge.pth", SUM, "are free"),
        ("/w.pth", None, "not encrypted"),
        ("/w.pth", "xyz", "64 hexadecimal"),
        ("/w.html", SUM, "not the address of a weight file"),
        ("/..%2f..%2fw", SUM, "not the address of a weight file"),
    ],
)
def test_faults_are_one_sentence_and_nothing_is_kept(server, tmp_path, path, sha256, message):
    address, _ = server
    with pytest.raises(UserError, match=message) as error:
        url.fetch(f"{address}{path}", sha256)
    assert "\n" not in str(error.value)
    assert kept(tmp_path) == []


def test_names_in_addresses_cannot_leave_the_cache(server, tmp_path):
    address, _ = server
    path = url.fetch(f"{address}/..%2f..%2f..%2fetc%2fw.pth", SUM)
    assert path.parent == tmp_path / "cache/inceptionnext_jax"
