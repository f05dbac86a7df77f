"""Exchanges between two real processes."""

import subprocess
import sys
import tempfile

import pytest

from benchmarks.faults import group_flags
from inceptionnext_jax.runtime import multihost
from tests.runs import ROOT, environment

SCRIPT = """
import sys
from inceptionnext_jax.errors import RunError, UserError
from inceptionnext_jax.runtime import multihost

index = int(sys.argv[1])
multihost.initialize_distributed(sys.argv[2], 2, index)


def fail():
    raise UserError("x" * 50_000)


"""


def run_pair(body: str, timeout: float = 60) -> list[list[str]]:
    """Runs `body` in two processes that have joined; returns the lines that each printed."""
    address = group_flags(2)[0].partition("=")[2]
    files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT + body, str(index), address],
            cwd=ROOT, env=environment(devices=2), stdout=file, stderr=subprocess.STDOUT, text=True,
        )
        for index, file in enumerate(files)
    ]  # fmt: skip
    try:
        codes = [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    outputs = []
    for file in files:
        file.seek(0)
        outputs.append([line for line in file.read().splitlines() if "[Gloo]" not in line])
        file.close()
    assert codes == [0, 0], outputs
    return outputs


def test_values_and_errors_of_any_length_reach_all_processes():
    """Lengths differ by process; the longest are far above one message's former 16 KiB."""
    body = """
value = ["a" * 100_000, "short"][index]
assert multihost.on_all_processes(lambda: value) == ["a" * 100_000, "short"]
assert multihost.on_process_zero(lambda: {"k": [index] * 20_000}) == {"k": [0] * 20_000}
for failing in (0, 1):
    try:
        multihost.on_all_processes(fail if index == failing else lambda: "b" * 30_000)
    except UserError as error:
        print(len(str(error)))
"""
    assert run_pair(body) == [["50000", "50000"]] * 2


@pytest.mark.parametrize("limit", [2**26, 2**10])
def test_bytes_are_gathered_whole_and_in_order(limit):
    """In one collective, and in many chunks that do not divide the lengths."""
    body = f"""
multihost._GATHERED_BYTES = {limit}
for lengths in ((0, 0), (0, 1), (100_000, 10), (3, 4_321)):
    values = [bytes(i % 251 + k for i in range(n)) for k, n in enumerate(lengths)]
    assert multihost.all_gather_bytes(values[index]) == values
print("same")
"""
    assert run_pair(body) == [["same"]] * 2


def test_one_process_exchanges_with_itself():
    assert multihost.all_gather_bytes(b"abc") == [b"abc"]
    assert multihost.on_process_zero(lambda: 1) == 1
