"""Files of the genuine TFDS ImageNet builder through configs/tiny.py, in both formats."""

import pytest

from tests.runs import CACHE, assert_same_arrays, main_py, metrics, saved_arrays

SMALL = [
    "--config=configs/tiny.py",
    f"--config.compilation_cache={CACHE}",
    "--config.augment.rand_augment=rand-m9-n1-mstd0.5-inc1",  # one layer: half the compilation
    "--config.total_steps=2",
    "--config.batch_size=8",
    "--config.optim.lr=1e-2",
    "--config.schedule.warmup_epochs=0",
    "--config.schedule.per=step",
    "--config.data.image_size=32",
    "--config.data.workers=1",
    "--config.model.name=inceptionnext_atto",
    "--config.model.stage_depths=(1,1,1,1)",
    "--config.model.depthwise_impl=conv",
    "--config.log.every_steps=1",
]


@pytest.fixture(scope="module")
def runs(tiny_array_record, tiny_tfrecord, tmp_path_factory):
    """Workdirs of the same run on both formats."""
    folders = {}
    for form, data_dir in (("array_record", tiny_array_record), ("tfrecord", tiny_tfrecord)):
        folders[form] = tmp_path_factory.mktemp(form)
        flags = [*SMALL, f"--config.data.dir={data_dir}", f"--workdir={folders[form]}"]
        main_py(*flags, check=True)
    return folders


@pytest.mark.parametrize("form", ["array_record", "tfrecord"])
def test_imagenet_trains_and_evaluates(runs, form):
    lines = metrics(runs[form])
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[-1]["eval/count"] == 10
    assert 0 <= lines[-1]["eval/top1"] <= lines[-1]["eval/top5"] <= 1


def test_both_formats_give_the_same_run(runs):
    assert_same_arrays(saved_arrays(runs["array_record"], 2), saved_arrays(runs["tfrecord"], 2))


def test_a_checkpoint_is_evaluated_by_the_same_program(runs, tiny_tfrecord):
    data_dir = f"--config.data.dir={tiny_tfrecord}"
    done = main_py(*SMALL, data_dir, f"--workdir={runs['array_record']}", "--mode=eval", check=True)
    last = metrics(runs["array_record"])[-1]
    assert f"eval/top1 {last['eval/top1']:.6g}" in done.stdout
    assert "eval/count 10" in done.stdout
