"""Images with several labels: the CSV, its mistakes, batches, targets and the score."""

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data import eval_batches, open_dataset
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.classification.transform import multi_hot_labels
from tests.data.batches import assert_same, eval_transforms, read_train


@pytest.fixture
def tree(tmp_path):
    """Four images, of which one lies in a folder of its own."""
    root = tmp_path / "data"
    (root / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "c.PNG", "more/d.png")):
        Image.new("RGB", (20, 16), (index * 60, 0, 0)).save(root / name)
    (root / "train.csv").write_text("file,labels\nb.png,cat;dog\na.png,dog\nmore/d.png,\n")
    (root / "val.csv").write_text('\ufefffile,labels\r\nc.PNG,"dog  bird; cat"\r\n', "utf-8")
    (root / "train.csv").open("a").write("c.PNG,bird cat\n")
    return root


def test_labels_are_the_sorted_union_and_images_keep_the_files_order(tree):
    dataset = open_dataset("folder", str(tree))
    assert dataset.class_names == ("bird", "cat", "dog")
    assert dataset.multi_label
    assert (dataset.num_train, dataset.num_eval) == (4, 1)
    examples = [dataset.train[i] for i in range(4)]
    assert [e.name.removeprefix(f"{tree}/") for e in examples] == [
        "b.png", "a.png", "more/d.png", "c.PNG",
    ]  # fmt: skip
    labels = [e.label.tolist() for e in examples]
    assert labels == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert dataset.eval[0].label.tolist() == [1, 1, 1]
    assert examples[0].image == (tree / "b.png").read_bytes()


def test_batches_hold_multi_hot_labels_and_padding_none(tree):
    dataset = open_dataset("folder", str(tree))
    label = multi_hot_labels(3)
    (batch,) = read_train(dataset.train, batch_size=4, stop=1, label=label)
    assert batch["label"].shape == (4, 3)
    assert batch["label"].dtype == np.uint8
    assert sorted(batch["label"].sum(axis=1)) == [0, 1, 2, 2]
    assert_same([batch], read_train(dataset.train, batch_size=4, stop=1, workers=1, label=label))
    with eval_batches(
        dataset.eval, eval_transforms(16, crop_pct=1.0, label=label), batch_size=2,
        positions=np.arange(2), workers=0,
    ) as batches:  # fmt: skip
        (batch,) = list(batches)
    assert batch["label"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert batch["mask"].tolist() == [1, 0]


def test_one_table_is_enough(tree):
    (tree / "train.csv").unlink()
    dataset = open_dataset("folder", str(tree))
    assert dataset.train is None
    assert dataset.class_names == ("bird", "cat", "dog")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../secret.png,dog", r"line 6: '../secret.png' is no path of a file inside"),
        ("more/../../secret.png,dog", "is no path of a file inside"),
        ("{tree}/a.png,dog", "is no path of a file inside"),
        ("link.png,dog", "is no path of a file inside.*links that leave it"),
        ("linked/secret.png,dog", "is no path of a file inside"),
        ("more,dog", "is no path of a file inside"),
        ("absent.png,dog", "'absent.png' is no path of a file inside"),
        (",dog", "is no path of a file inside"),
        ("b.png,cat", "line 6: 'b.png' is there twice"),
        ("b.png", "line 6: 1 columns, expected file,labels"),
        ("b.png,dog,cat", "3 columns"),
        ('b.png,"dog', "not a readable CSV"),
    ],
)
def test_bad_lines_are_named(tree, line, words):
    (tree.parent / "secret.png").write_bytes((tree / "a.png").read_bytes())
    (tree / "link.png").symlink_to(tree.parent / "secret.png")
    (tree / "linked").symlink_to(tree.parent)
    with (tree / "train.csv").open("a") as file:
        file.write(line.format(tree=tree) + "\n")
    with pytest.raises(UserError, match=words) as error:
        open_dataset("folder", str(tree))
    assert str(tree / "train.csv") in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,dog\n", "begins with 'a.png,dog', expected 'file,labels'"),
        ("", "begins with '', expected"),
        ("file,labels\na.png,\n", "gives no image a label"),
        ("file,labels\na.png,dgo\n", "line 2: label 'dgo' is none of the training.*mean dog"),
        ("file,labels\n\udcff.png,dog\n", "not a readable CSV file in UTF-8"),
    ],
)
def test_bad_tables_are_named(tree, text, words):
    (tree / "val.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=words):
        open_dataset("folder", str(tree))


def test_links_that_stay_inside_are_followed(tree):
    (tree / "again.png").symlink_to(tree / "a.png")
    (tree / "train.csv").open("a").write("again.png,dog\n")
    assert open_dataset("folder", str(tree)).num_train == 5


def test_mixing_mixes_multi_hot_labels_without_smoothing():
    import jax.numpy as jnp

    from inceptionnext_jax.augment.mixing import mix_targets

    label = jnp.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1]], jnp.uint8)
    got = mix_targets(label, jnp.array([0.75]), 3, label_smoothing=0.1)
    want = 0.75 * np.asarray(label, float) + 0.25 * np.asarray(label, float)[::-1]
    np.testing.assert_array_equal(got, want)


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    from inceptionnext_jax.tasks.classification.multilabel import average_precision

    random = np.random.default_rng(0)
    for case in range(40):
        scores = random.normal(size=60).astype(np.float32)
        labels = (random.random(60) < 0.2).astype(np.uint8)
        if case % 2:
            scores = np.round(scores)  # many ties
        labels[0] = 1
        want = average_precision_score(labels, scores)
        assert average_precision(scores, labels) == pytest.approx(want, rel=1e-12)
    assert average_precision(scores, np.zeros(60, np.uint8)) is None
