"""Random kills of training runs on the digits, each restarted with the same command.

    python -m benchmarks.faults --kills=200 --minutes=15

A life is one workdir from its first start to its end, with SIGKILLs in between; its last checkpoint
must have the bits of an uninterrupted run. Lives are numbered, every random choice in one follows
from (seed, number), and each is appended to the record when it ends, so a benchmark that stops
after some minutes can be continued.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.runs import ROOT, environment, metrics, saved_arrays, small_flags

RECORD = ROOT / "benchmarks" / "results" / "cpu" / "faults.jsonl"
STEPS = 10
FLAGS: dict[str, Any] = {
    "total_steps": STEPS,
    "checkpoint.every_steps": 2,
    "eval.every_steps": 4,
    "ema_decay": 0.9,
}
# Kills in a life; more processes take longer to start on few cores.
KILLS = {1: 14, 2: 8, 4: 6}
# (processes, asynchronous saves, data workers a process)
CASES = (
    *itertools.product((1, 2), (True, False), (1, 4)),
    (4, True, 1),
    (4, False, 1),
    *itertools.product((1,), (True, False), (1, 4)),
)
MOMENTS = ("start-up", "restore", "compilation", "training", "save", "evaluation")
STOPPED = 75  # exit code of a run that stopped on request
HANG = 300  # seconds before a run counts as hung
SAME = ("train/loss", "train/grad_norm", "eval/loss", "eval_ema/loss", "eval/count", "epoch")


@dataclass
class Kill:
    """One SIGKILL. committed: newest complete step afterwards; resumed: step of the next start.

    unfinished: whether a save was in progress; first: which of several processes died first.
    """

    moment: str
    delay: float
    first: int
    together: bool
    last_step_seen: int
    committed: int
    unfinished: bool
    resumed: int | None = None
    processes_left: int = 0


class Group:
    """The processes of one start of a run, as a launcher would hold them."""

    def __init__(
        self,
        workdir: Path | str,
        processes: int,
        flags: list[str],
        variables: dict[str, str] | None = None,
    ):
        """variables: their environment, if not the default one."""
        self.workdir = workdir
        self.lines: list[str] = []  # of process 0
        self.ended = threading.Event()
        self.changed = threading.Condition()
        self._errors = [tempfile.TemporaryFile("w+") for _ in range(processes)]  # noqa: SIM115
        group = group_flags(processes)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "main.py", *flags, f"--workdir={workdir}", *group]
                + ([f"--process_id={index}"] if group else []),
                cwd=ROOT,
                env=variables or environment(),
                stdout=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
                stderr=self._errors[index],
                text=True,
                start_new_session=True,
            )
            for index in range(processes)
        ]
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.processes[0].stdout:  # type: ignore[union-attr]
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()
        self.ended.set()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern: str, timeout: float = HANG) -> bool:
        """Waits for a matching line; False if the run ends without one."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self.changed:
            while not any(wanted.match(line) for line in self.lines):
                if self.ended.is_set() or not self.changed.wait(deadline - time.monotonic()):
                    return False
        return True

    def signal(self, number: int, index: int) -> None:
        if self.processes[index].poll() is None:
            self.processes[index].send_signal(number)

    def finish(self, timeout: float = HANG) -> list[int]:
        """Exit codes of all processes; kills those that hang (their code is then -9)."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        return [process.wait() for process in self.processes]

    def errors(self) -> list[str]:
        """The stderr of each process."""
        texts = []
        for file in self._errors:
            file.seek(0)
            texts.append(file.read())
        return texts

    def processes_left(self, patience: float = 90.0) -> int:
        """Number of processes of these sessions, including loader workers, that outlive parents.

        A worker that is still importing when its parent dies ends once it has finished importing.
        """
        sessions = {process.pid for process in self.processes}
        deadline = time.monotonic() + patience
        while (left := in_sessions(sessions)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def resumed(self) -> int | None:
        """The step that this start resumed from; None if it was killed before reporting it."""
        for line in self.lines:
            found = re.match(r"(?:resumed from|started from|done:) step (\d+)", line)
            if found:
                return int(found[1])
        return None

    def last_step(self) -> int:
        found = [re.match(r"step (\d+) ", line) for line in self.lines]
        return max((int(match[1]) for match in found if match), default=0)


def group_flags(processes: int) -> list[str]:
    if processes == 1:
        return []
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [f"--coordinator=localhost:{port}", f"--num_processes={processes}"]


def in_sessions(sessions: set[int]) -> int:
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            count += int(fields[3]) in sessions and fields[0] != "Z"
    return count


def committed(workdir: Path) -> int:
    """The newest step under its own name; 0 if there is none."""
    folder = workdir / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def wait_until(group: Group, moment: str, rng: random.Random) -> float | None:
    """Waits for a random instant of `moment`; returns seconds since its start, None if over."""
    start = committed(group.workdir)
    slow = len(group.processes) ** 0.5
    pattern, longest = {
        "start-up": (None, 2.5 * slow),
        "restore": (r" *requested", 1.5 * slow),
        "compilation": (r"(resumed|started) from", 2.0 * slow),
        "training": (rf"step {start + rng.randint(1, 5)} ", 0.3),
        "save": (None, 0.1),
        "evaluation": (rf"step {min((start // 4 + rng.randint(1, 2)) * 4, STEPS) - 1} ", 1.0),
    }[moment]
    if pattern and not group.wait_for(pattern):
        return None
    after = start + rng.choice((0, 2, 4))  # not always the next save: lives must make progress
    if moment == "save" and not _wait_for_save(group, after):
        return None
    delay = rng.uniform(0.0, longest)
    group.ended.wait(delay)
    return None if group.ended.is_set() else delay


def _wait_for_save(group: Group, after: int) -> bool:
    """Waits until a step is being saved and `after` is complete."""
    deadline = time.monotonic() + HANG
    while not group.ended.is_set() and time.monotonic() < deadline:
        if _unfinished(group.workdir) and committed(group.workdir) >= after:
            return True
        time.sleep(0.005)
    return False


def _unfinished(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


@dataclass
class Life:
    """A workdir, from its first start to its end."""

    workdir: Path
    processes: int
    asynchronous: bool
    workers: int
    rng: random.Random
    kills: list[Kill] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def flags(self) -> list[str]:
        changes = {"checkpoint.asynchronous": self.asynchronous, "data.workers": self.workers}
        return small_flags(**FLAGS, **changes)

    def start(self) -> Group:
        return Group(self.workdir, self.processes, self.flags())

    def live(self, kills: int) -> None:
        """Kills that many starts, then lets the run finish."""
        ended = False
        while len(self.kills) < kills and not ended:
            group = self.start()
            ended = not self._kill(group)
        if not ended:
            self._check_end(self.start())

    def _kill(self, group: Group) -> bool:
        """Kills one start at a random moment; False if it finished before."""
        moment = self.rng.choice(MOMENTS)
        first, together = self.rng.randrange(self.processes), self.rng.random() < 0.5
        pause = self.rng.uniform(0.0, 1.0)
        delay = wait_until(group, moment, self.rng)
        if delay is None:
            self._check_end(group)
            return False
        group.signal(signal.SIGKILL, first)
        if not together and self.processes > 1:
            time.sleep(pause)  # the others may notice before the launcher kills them
        for index in range(self.processes):
            group.signal(signal.SIGKILL, index)
        group.finish()
        left = group.processes_left()
        self._compare_resumed(group)
        now = committed(self.workdir)
        self.kills.append(
            Kill(moment, round(delay, 3), first, together, group.last_step(), now,
                 _unfinished(self.workdir), None, left)
        )  # fmt: skip
        if left:
            self.problems.append(f"kill {len(self.kills)}: {left} processes left")
        self.problems += [text[:500] for text in group.errors() if "damaged" in text]
        return True

    def _compare_resumed(self, group: Group) -> None:
        """Checks that the start after each kill resumed from the newest complete step."""
        resumed = group.resumed()
        if resumed is None or not self.kills:
            return
        last = self.kills[-1]
        last.resumed = resumed
        if resumed != last.committed:
            self.problems.append(f"resumed from {resumed}, but {last.committed} was complete")

    def _check_end(self, group: Group) -> None:
        codes = group.finish()
        self._compare_resumed(group)
        if any(codes):
            self.problems.append(f"exit codes {codes}: {' '.join(group.errors())[-500:]}")


def digest(workdir: Path) -> str:
    """SHA-256 of all arrays of the last checkpoint: parameters, moments, averages, counters."""
    total = hashlib.sha256()
    for path, array in sorted(saved_arrays(workdir, STEPS).items()):
        total.update(f"{path} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def logged(workdir: Path) -> list[list[Any]]:
    """The contents of metrics.jsonl for each step, without times."""
    return [[line["step"], *(line.get(key) for key in SAME)] for line in metrics(workdir)]


def reference(folder: Path, processes: int) -> dict[str, Any]:
    """An uninterrupted run: synchronous saves, loading in the process itself."""
    life = Life(folder, processes, asynchronous=False, workers=0, rng=random.Random(0))
    life.live(0)
    if life.problems:
        raise RuntimeError("\n".join(life.problems))
    return {"processes": processes, "digest": digest(folder), "lines": logged(folder)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="kills in the whole record")
    parser.add_argument("--minutes", type=float, default=15.0, help="time limit of this call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument(
        "--part", type=int, default=0, help="index among --parts that run in parallel"
    )
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the record as Markdown")
    args = parser.parse_args()
    if args.table:
        print(table(_read(args.record)))
        return
    deadline = time.monotonic() + 60 * args.minutes
    commit = _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain") else "")
    while time.monotonic() < deadline:
        done = [entry for entry in _read(args.record) if entry["kind"] == "life"]
        if sum(len(entry["kills"]) for entry in done) >= args.kills:
            break
        lived = {entry["number"] for entry in done}
        number = next(n for n in itertools.count(args.part, args.parts) if n not in lived)
        case = CASES[number % len(CASES)]
        with tempfile.TemporaryDirectory(prefix="faults") as folder:
            known = _reference(args.record, commit, case[0], Path(folder) / "reference")
            entry = _live(args.seed, number, case, Path(folder) / "life", known)
        _append(args.record, {**entry, "commit": commit})
        print(f"life {number}: {case}, {len(entry['kills'])} kills, identical "
              f"{entry['identical']}, {entry['seconds']} s", flush=True)  # fmt: skip


def _live(
    seed: int, number: int, case: tuple[int, bool, int], workdir: Path, known: dict[str, Any]
) -> dict[str, Any]:
    began = time.monotonic()
    life = Life(workdir, *case, rng=random.Random(f"{seed} {number}"))
    life.live(KILLS[case[0]])
    identical = not life.problems and digest(workdir) == known["digest"]
    same_lines = not life.problems and logged(workdir) == known["lines"]
    return {
        "kind": "life",
        "seed": seed,
        "number": number,
        "processes": life.processes,
        "asynchronous": life.asynchronous,
        "workers": life.workers,
        "kills": [asdict(kill) for kill in life.kills],
        "identical": identical,
        "same_lines": same_lines,
        "problems": life.problems,
        "seconds": round(time.monotonic() - began),
    }


def table(entries: list[dict[str, Any]]) -> str:
    """Two Markdown tables of a record: lives by configuration, kills by moment."""
    lives = [entry for entry in entries if entry["kind"] == "life"]
    lines = [
        "| processes | saves | data workers | lives | kills | save in progress | same bits |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in sorted(set(CASES), key=lambda case: (case[0], not case[1], case[2])):
        chosen = [e for e in lives if (e["processes"], e["asynchronous"], e["workers"]) == case]
        if chosen:
            saves = "asynchronous" if case[1] else "synchronous"
            lines.append(f"| {case[0]} | {saves} | {case[2]} | {_counts(chosen)} |")
    lines.append(f"| all | | | {_counts(lives)} |")
    kills = [kill for life in lives for kill in life["kills"]]
    known = [kill for kill in kills if kill["resumed"] is not None]
    lines += ["", "| killed during | kills |", "|---|---|"]
    for moment in MOMENTS:
        lines.append(f"| {moment} | {sum(kill['moment'] == moment for kill in kills)} |")
    lost = sum(kill["committed"] - kill["resumed"] for kill in known)
    lines += [
        "",
        f"Of {len(kills)} kills {len(known)} were followed by a start that lasted until it "
        f"reported its step; steps lost after the last complete checkpoint: {lost}. Runs whose "
        f"`metrics.jsonl` equals the uninterrupted run's: {sum(e['same_lines'] for e in lives)} of "
        f"{len(lives)}. Processes left behind: {sum(kill['processes_left'] for kill in kills)}.",
    ]
    return "\n".join(lines)


def _counts(lives: list[dict[str, Any]]) -> str:
    kills = [kill for life in lives for kill in life["kills"]]
    saving = sum(kill["unfinished"] for kill in kills)
    same = sum(life["identical"] for life in lives)
    return f"{len(lives)} | {len(kills)} | {saving} | {same} of {len(lives)}"


def _reference(record: Path, commit: str, processes: int, folder: Path) -> dict[str, Any]:
    for entry in _read(record):
        key = (entry["kind"], entry["commit"], entry.get("processes"))
        if key == ("reference", commit, processes):
            return entry
    entry = {"kind": "reference", "commit": commit, **reference(folder, processes)}
    _append(record, entry)
    shutil.rmtree(folder)
    return entry


def _read(record: Path) -> list[dict[str, Any]]:
    if not record.is_file():
        return []
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def _append(record: Path, entry: dict[str, Any]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
