"""Writers of metrics; metrics.jsonl has each step once."""

import json

from inceptionnext_jax.workdir.writers import JsonLines, TensorBoard


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_after_a_resume_each_step_has_one_line(tmp_path):
    writer = JsonLines.open(tmp_path, 0)
    for step in range(1, 6):
        writer.write(step, {"train/loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train/lo')  # a kill in the middle of a write
    writer = JsonLines.open(tmp_path, 3)
    writer.write(4, {"train/loss": 40.0})
    writer.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert lines(tmp_path)[-1]["train/loss"] == 40.0
    assert all(line["wall_time"] > 1e9 for line in lines(tmp_path))


def test_two_writes_of_a_step_make_one_line(tmp_path):
    writer = JsonLines.open(tmp_path, 0)
    writer.write(1, {"train/loss": 1.0, "train/note": "é"})
    writer.write(2, {"train/loss": 2.0})
    writer.write(2, {"eval/top1": 0.5})
    writer.close()
    writer = JsonLines.open(tmp_path, 2)
    writer.write(2, {"eval/top5": 0.9})
    writer.write(3, {"train/loss": 3.0})
    writer.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    two = lines(tmp_path)[1]
    assert (two["train/loss"], two["eval/top1"], two["eval/top5"]) == (2.0, 0.5, 0.9)


def test_nan_and_infinity_become_null(tmp_path):
    writer = JsonLines.open(tmp_path, 0)
    writer.write(1, {"train/loss": float("nan"), "train/grad_norm": float("inf")})
    writer.close()
    assert lines(tmp_path)[0]["train/loss"] is None


def test_tensorboard_events_are_written(tmp_path):
    writer = TensorBoard.open(tmp_path, 0)
    writer.write(1, {"train/loss": 1.0})
    writer.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))
