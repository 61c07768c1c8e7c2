"""Lists of labels beside images: ImageNet's own, Caffe's, Kaggle's, any table."""

import numpy as np
import pytest
from PIL import Image

from portkit.errors import PortkitError
from portkit.evaluation.choices import DataOptions
from portkit.evaluation.folders import open_data
from portkit.evaluation.labels import META, TRUTH

UNKNOWN = (
    "the model has 1000 answers, which is which is not known "
    "(a classes.txt with all classes in order, one a line, would say it)"
)


def save_images(folder, names):
    """Write plain images."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (6, 4)).save(folder / name)
    return folder


def found_in(path, outputs=0):
    return open_data(DataOptions(str(path)), 3, outputs)


def complaint(*words):
    with pytest.raises(PortkitError) as caught:
        found_in(*words)
    return str(caught.value)


VAL = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "ILSVRC2012_val_00000002.JPEG 1\nILSVRC2012_val_00000001.JPEG 65\n{} 970\n"),
        (
            "LOC_val_solution.csv",
            (
                "ImageId,PredictionString\nILSVRC2012_val_00000001,n65 111 108 432 301\n"
                "ILSVRC2012_val_00000002,n01 1 2 3 4 n01 5 6 7 8\nILSVRC2012_val_00000003,n970 1\n"
            ),
        ),
        (
            "anything.csv",
            "label,file\n65,ILSVRC2012_val_00000001.JPEG\n1,ILSVRC2012_val_00000002.JPEG\n970,{}\n",
        ),
    ],
)
def test_lists_of_labels(tmp_path, name, text):
    place = folder = save_images(tmp_path / "val", VAL)
    (place / name).write_text(text.format(VAL[2]))
    classes = {1: "n01", 65: "n65", 970: "n970"}
    lines = [f"{classes.get(n, f'm{n}')} name, words" for n in range(1000)]
    (place / "LOC_synset_mapping.txt").write_text("\n".join(lines))
    data = found_in(folder, 1000)
    assert data.labels == (65, 1, 970)
    assert data.words == f"a folder of images, labels from {name}"
    assert data.name_of(65) == "n65"


def test_wordnet_ids_stand_for_their_place_when_sorted_if_all_are_there(tmp_path):
    save_images(tmp_path, VAL)
    rows = zip(VAL, ("n3", "n1", "n2"), strict=True)
    text = "\n".join(["image,label", *(",".join(row) for row in rows)])
    (tmp_path / "labels.csv").write_text(text)
    assert found_in(tmp_path, 3).labels == (2, 0, 1)
    few = found_in(tmp_path, 1000)
    assert few.labels is None
    assert few.notes == (f"labels are left out: 3 classes in the list, {UNKNOWN}",)


def write_meta(path):
    """Write what the ImageNet devkit has, its own numbers in another order than WordNet's."""
    from scipy.io import savemat

    rows = [(1, "n30", 0), (2, "n10", 0), (3, "n20", 0), (4, "n00", 3)]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    savemat(path, {"synsets": np.array(rows, kinds)[:, None]})


def test_imagenets_own_numbers_become_places_among_sorted_wordnet_ids(tmp_path):
    save_images(tmp_path, VAL)
    (tmp_path / TRUTH).write_text("1\n2\n3\n")
    bare = found_in(tmp_path, 3)
    assert bare.labels is None
    why_not = f"{TRUTH} numbers classes in an order of its own, meta.mat is needed beside it"
    assert bare.notes == (f"labels are left out: {why_not}",)
    write_meta(tmp_path / META)
    data = found_in(tmp_path, 3)
    assert data.labels == (2, 0, 1)
    assert data.classes == ("n10", "n20", "n30")


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (
            "1\n2\n",
            (
                "has 2 lines, none of them for ILSVRC2012_val_00000003.JPEG\n"
                "  fix: keep the names ILSVRC2012_val_NUMBER.JPEG"
            ),
        ),
        ("1\n9\n2\n", "class 9 is not in meta.mat"),
    ],
)
def test_imagenets_own_list_that_does_not_fit(tmp_path, truth, words):
    save_images(tmp_path, VAL)
    write_meta(tmp_path / META)
    (tmp_path / TRUTH).write_text(truth)
    assert complaint(tmp_path).split(": ", 1)[1] == words


def test_a_devkit_that_is_none(tmp_path):
    save_images(tmp_path, VAL)
    (tmp_path / META).write_bytes(b"not matlab")
    (tmp_path / TRUTH).write_text("1\n1\n1\n")
    assert complaint(tmp_path).startswith(f"{tmp_path / META}: is no ImageNet devkit's meta.mat: ")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "val.txt",
            "a.png 1\n",
            (
                "val.txt: has no label for b.png (1 of 2 images)\n"
                "  fix: complete it, or move it away to do without labels"
            ),
        ),
        ("val.txt", "a.png 1\nb.png\n", "val.txt:2: has no label\n  fix: write NAME LABEL"),
        (
            "val.txt",
            "a.png 1\nb.png 0\na.png 2",
            "val.txt:3: gives a.png the label 2, before 1",
        ),
        (
            "val.txt",
            "a.png 1\nb.png 3\n",
            (
                ": b.png is of class 3 (label 3), the model answers 0 to 2\n"
                "  fix: use the data that the model was trained for"
            ),
        ),
        (
            "labels.csv",
            "picture,kind\n",
            (
                "labels.csv: has the columns picture, kind: which hold names and labels?\n"
                "  fix: call them image and label"
            ),
        ),
        ("labels.csv", "image,label\na.png\n", "labels.csv:2: has 1 columns, the head has 2"),
        ("labels.csv", "image,label\na.png, \n", "labels.csv:2: gives a.png no label"),
        (
            "labels.csv",
            "image,label\na.png,cat\nb.png,dog\n",
            "labels.csv: has the label 'dog', which is not among the 1 classes",
        ),
    ],
)
def test_lists_that_do_not_fit(tmp_path, name, text, words):
    save_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / name).write_text(text)
    if "dog" in text:
        (tmp_path / "classes.txt").write_text("cat\n")
    assert complaint(tmp_path, 3).endswith(words)


def test_a_list_that_is_no_text(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00")
    assert complaint(tmp_path).startswith(f"{tmp_path / 'val.txt'}: cannot be read as text: ")


def test_a_list_may_lie_above_the_images(tmp_path):
    folder = save_images(tmp_path / "val", VAL)
    (tmp_path / "val.txt").write_text("\n".join(f"{name} 7" for name in VAL))
    assert found_in(folder, 1000).labels == (7, 7, 7)
    (folder / "val.txt").write_text("\n".join(f"{name} 8" for name in VAL))
    assert found_in(folder, 1000).labels == (8, 8, 8)
