import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from inceptionnext_jax.data import eval_batches, open_dataset, tfrecord
from inceptionnext_jax.errors import UserError
from tests import tiny_imagenet
from tests.data.batches import assert_same, eval_transforms, read_train

INDEX = "imagenet2012-train.index.npz"


@pytest.fixture
def copy(tiny_tfrecord, tmp_path, monkeypatch):
    """The version's folder of a private copy of the TFRecord data, without index files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    shutil.copytree(tiny_tfrecord / "imagenet2012", root / "imagenet2012")
    folder = root / "imagenet2012" / "5.1.0"
    for index in folder.glob("*.npz"):
        index.unlink()
    return folder


def shard(folder, split="train"):
    return folder / f"imagenet2012-{split}.tfrecord-00000-of-00001"


def open_at(folder):
    return open_dataset("imagenet2012", str(folder.parent.parent))


def test_both_formats_hold_the_prepared_examples(tiny_tfrecord, tiny_array_record):
    order = tiny_imagenet.wnids()
    for data_dir in (tiny_tfrecord, tiny_array_record):
        dataset = open_dataset("imagenet2012", str(data_dir))
        assert dataset.num_train == tiny_imagenet.NUM_TRAIN
        assert dataset.num_eval == tiny_imagenet.NUM_EVAL
        assert dataset.class_names == tuple(order)
        by_name = {}
        for i in range(dataset.num_eval):
            example = dataset.eval[i]
            by_name[example.name.split()[-1]] = example
        for i, label in enumerate(tiny_imagenet.eval_labels()):
            example = by_name[f"ILSVRC2012_val_{i + 1:08d}.JPEG"]
            assert example.label == label
            assert example.image == tiny_imagenet.jpeg(5000 + i)
        for i in range(dataset.num_train):
            example = dataset.train[i]
            assert example.name.split()[-1].startswith(order[example.label])


@pytest.mark.parametrize("workers", [0, 2])
def test_both_formats_give_the_same_batches(tiny_tfrecord, tiny_array_record, workers):
    left, right = (open_dataset("imagenet2012", str(d)) for d in (tiny_tfrecord, tiny_array_record))
    assert_same(
        read_train(left.train, batch_size=10, start=2, stop=7, size=48, workers=workers),
        read_train(right.train, batch_size=10, start=2, stop=7, size=48, workers=workers),
    )


@pytest.mark.parametrize(
    ("split", "size"),
    [("train[:50%]", 24), ("train[10:]", 38), ("train[-5:]", 5), ("train[:7]+validation", 17)],
)
def test_splits_are_cut_as_tfds_does(tiny_tfrecord, tiny_array_record, split, size):
    left, right = (
        open_dataset("imagenet2012", str(d), train_split=split).train
        for d in (tiny_tfrecord, tiny_array_record)
    )
    assert len(left) == len(right) == size
    for index in (0, size - 1):
        assert left[index].image == right[index].image


def test_reading_loads_no_tensorflow(tiny_tfrecord, tiny_array_record):
    code = f"""
import sys, numpy as np
from inceptionnext_jax.data import open_dataset, eval_batches
from tests.data.batches import eval_transforms
for data_dir in ({str(tiny_tfrecord)!r}, {str(tiny_array_record)!r}):
    source = open_dataset("imagenet2012", data_dir).eval
    batches = eval_batches(source, eval_transforms(32, crop_pct=0.9), batch_size=4,
                           positions=np.arange(4), workers=0)
    print(sum(int(batch["mask"].sum()) for batch in batches))
    batches.close()
print("tensorflow" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tiny_imagenet.REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["10", "10", "False", "False"], done.stderr


# --- the index ---


def test_index_is_kept_and_reused(copy, monkeypatch):
    first = open_at(copy)
    assert (copy / INDEX).is_file()
    monkeypatch.setattr(tfrecord, "_build", lambda *_: pytest.fail("index built again"))
    second = open_at(copy)
    assert second.train[5].image == first.train[5].image


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x03\x04 half a zip"])
def test_damaged_index_is_rebuilt(copy, content):
    good = open_at(copy).train[5].image
    (copy / INDEX).write_bytes(content)
    assert open_at(copy).train[5].image == good
    assert (copy / INDEX).stat().st_size > 1000


def test_index_with_pickled_objects_is_never_loaded(copy, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    good = open_at(copy).train[5].image
    with open(copy / INDEX, "wb") as file:
        np.savez(file, format=np.array([Trap()], object), names=np.array([Trap()], object))
    assert open_at(copy).train[5].image == good
    assert not (tmp_path / "sprung").exists()


def test_index_is_rebuilt_when_a_shard_changes(copy):
    before = open_at(copy).train
    first = before[0].image
    # The same records in reverse: same name, same size.
    data = shard(copy).read_bytes()
    spans = zip(before.records["offset"], before.records["length"], strict=True)
    pieces = [data[offset - 12 : offset + length + 4] for offset, length in spans]
    shard(copy).write_bytes(b"".join(reversed(pieces)))
    os.utime(shard(copy), ns=(1, 1))
    assert open_at(copy).train[47].image == first


def test_index_goes_to_the_cache_when_the_data_are_read_only(copy, tmp_path, monkeypatch):
    real = tfrecord._write_index

    def refuse(path, index):
        if path.parent == copy:  # chmod would not stop root
            raise PermissionError(13, "read-only")
        real(path, index)

    monkeypatch.setattr(tfrecord, "_write_index", refuse)
    open_at(copy)
    assert not (copy / INDEX).exists()
    (cached,) = (tmp_path / "cache").rglob(INDEX)
    monkeypatch.setattr(tfrecord, "_build", lambda *_: pytest.fail("index built again"))
    assert open_at(copy).num_train == 48
    assert cached.parent == tfrecord.cache_folder(copy)


def test_index_leaves_no_temporary_files(copy):
    open_at(copy)
    assert sorted(p.name for p in copy.glob("*index*")) == [
        INDEX,
        "imagenet2012-validation.index.npz",
    ]
    assert not list(copy.glob(".*"))


def test_crc_is_that_of_the_record_format():
    # CRC-32C of "123456789" is 0xE3069283; the mask rotates by 15 bits and adds a constant.
    crc = 0xE3069283
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    rows = np.frombuffer(b"123456789", np.uint8)[None]
    assert tfrecord.masked_crc32c(rows).tolist() == [masked]


# --- damage ---


@pytest.mark.parametrize("record", [0, 20, 47])
@pytest.mark.parametrize("cut", [1, 4, 5, 1000])
def test_truncated_shard_is_named_with_its_offset(copy, record, cut):
    offset, length = open_at(copy).train.records[["offset", "length"]][record].tolist()
    os.truncate(shard(copy), offset + length + 4 - cut)
    with pytest.raises(
        UserError,
        match=rf"train\.tfrecord-00000-of-00001 is cut off inside a record at byte {offset - 12};",
    ):
        open_at(copy)


def test_shard_cut_inside_a_head_is_named_with_its_offset(copy):
    last = int(open_at(copy).train.records["offset"].max()) - 12
    os.truncate(shard(copy), last + 5)
    with pytest.raises(UserError, match=rf"cut off inside a record's head at byte {last}"):
        open_at(copy)


def test_shard_cut_between_records_is_named_with_both_counts(copy):
    last = int(open_at(copy).train.records["offset"].max()) - 12
    os.truncate(shard(copy), last)
    with pytest.raises(UserError, match=r"00000-of-00001 holds 47 records, but .* says 48"):
        open_at(copy)


def test_damaged_length_is_named_with_its_offset(copy):
    third = int(open_at(copy).train.records["offset"][2]) - 12
    data = bytearray(shard(copy).read_bytes())
    data[third + 1] ^= 1
    shard(copy).write_bytes(data)
    with pytest.raises(UserError, match=rf"damaged record .* at byte {third};"):
        open_at(copy)


def test_missing_shard_is_named(copy):
    shard(copy).unlink()
    with pytest.raises(UserError, match=r"train\.tfrecord-00000-of-00001 cannot be read"):
        open_at(copy)


def test_shard_that_shrinks_while_reading_is_named(copy):
    source = open_at(copy).train
    os.truncate(shard(copy), int(source.records["offset"][7]) + 3)
    with pytest.raises(UserError, match=r"ends at byte .* inside a record"):
        source[7]


def test_undecodable_payload_is_named(copy):
    source = open_at(copy).train
    offset, length = source.records["offset"][3], source.records["length"][3]
    data = bytearray(shard(copy).read_bytes())
    data[offset : offset + length] = b"\xff" * length
    shard(copy).write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read example .*train\[3\]"):
        source[3]


def test_truncated_array_record_is_named(tiny_array_record, tmp_path):
    shutil.copytree(tiny_array_record / "imagenet2012", tmp_path / "imagenet2012")
    (path,) = tmp_path.rglob("*-train.array_record-*")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"cannot read example .*train\[0\]"):
        open_dataset("imagenet2012", str(tmp_path)).train[0]


# --- mistakes ---


def test_error_for_missing_data_names_the_command_and_the_folder(tmp_path, monkeypatch):
    with pytest.raises(
        UserError,
        match=rf"no prepared data set 'imagenet2012' in {tmp_path}/imagenet2012/<version>; run: "
        rf"python -m inceptionnext_jax prepare imagenet2012 --data-dir {tmp_path} --manual-dir",
    ):
        open_dataset("imagenet2012", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "env"))
    with pytest.raises(UserError, match=rf"prepare cifar10 --data-dir {tmp_path}/env$"):
        open_dataset("cifar10")
    with pytest.raises(UserError, match="did you mean digits"):
        open_dataset("digit", str(tmp_path))
    for name in ("../etc", "/etc", "a/../b", ""):
        with pytest.raises(UserError, match="nor a TFDS name"):
            open_dataset(name, str(tmp_path))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train_split": "trian"}, "no examples in split 'trian'; it has train, validation"),
        ({"eval_split": "test"}, "no examples in split 'test'"),
        ({"train_split": "train[:x%]"}, "is not understood"),
        ({"train_split": "train[:0]"}, r"no examples in split 'train\[:0\]'"),
        ({"train_split": "a", "eval_split": "b"}, "neither split 'a' nor 'b'"),
    ],
)
def test_wrong_splits_are_named(tiny_tfrecord, splits, message):
    with pytest.raises(UserError, match=message):
        open_dataset("imagenet2012", str(tiny_tfrecord), **splits)


def test_unreadable_info_is_named(copy):
    (copy / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"5\.1\.0 is not a readable TFDS data set"):
        open_at(copy)


def test_other_formats_are_refused(copy):
    info = json.loads((copy / "dataset_info.json").read_text())
    info["fileFormat"] = "riegeli"
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="riegeli"):
        open_at(copy)


def test_version_can_be_chosen_and_the_newest_is_the_default(copy):
    newer = copy.parent / "5.10.0"
    shutil.copytree(copy, newer)
    root = str(copy.parent.parent)
    assert open_dataset("imagenet2012", root).train.builder_dir == str(newer)
    assert open_dataset("imagenet2012:5.1.0", root).train.builder_dir == str(copy)
    assert open_dataset("imagenet2012", str(copy)).train.builder_dir == str(copy)


def test_whole_evaluation_split_is_read(tiny_tfrecord):
    source = open_dataset("imagenet2012", str(tiny_tfrecord)).eval
    with eval_batches(
        source,
        eval_transforms(32),
        batch_size=4,
        positions=np.arange(4),
        workers=0,
    ) as batches:
        labels = np.concatenate([b["label"][b["mask"] == 1] for b in batches])
    assert sorted(labels) == sorted(tiny_imagenet.eval_labels())
