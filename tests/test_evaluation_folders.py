"""Images as people keep them, good and bad."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portkit.errors import PortkitError
from portkit.evaluation.choices import DataOptions
from portkit.evaluation.data import load_fashion
from portkit.evaluation.folders import open_data

TREE = {"dog/b.png": 30, "dog/a.png": 20, "cat/deep/c.JPG": 10, "zebra/z.png": 40}


def save_images(folder, names):
    """Write plain images, each of a grey of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        level = names[name] if isinstance(names, dict) else number
        Image.new("RGB", (6, 4), (level,) * 3).save(path)
    return folder


def found_in(path, outputs=0, channels=3):
    return open_data(DataOptions(str(path)), channels, outputs)


def complaint(*words):
    with pytest.raises(PortkitError) as caught:
        found_in(*words)
    return str(caught.value)


# Class folders


def test_class_folders_are_labelled_by_their_sorted_names(tmp_path):
    save_images(tmp_path, TREE)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    data = found_in(tmp_path, 3)
    assert data.ids == ("cat/deep/c.JPG", "dog/a.png", "dog/b.png", "zebra/z.png")
    assert data.labels == (0, 1, 1, 2)
    assert data.classes == ("cat", "dog", "zebra")
    assert (len(data), data.notes, data.words) == (4, (), "3 class folders")
    levels = [int(data.decode(i)[0, 0, 0]) for i in range(4)]
    assert levels == pytest.approx([TREE[name] for name in data.ids], abs=1)
    assert data.decode(1).shape == (4, 6, 3)
    assert data.thumbnail(1).startswith(b"\x89PNG")
    assert [data.name_of(label) for label in (0, 7)] == ["cat", "7"]


def test_class_folders_agree_with_torchvisions_imagefolder(tmp_path):
    from torchvision.datasets import ImageFolder

    save_images(tmp_path, TREE)
    theirs = ImageFolder(tmp_path)
    pairs = [(Path(path).relative_to(tmp_path).as_posix(), n) for path, n in theirs.samples]
    data = found_in(tmp_path)
    assert sorted(zip(data.ids, data.labels, strict=True)) == sorted(pairs)
    assert list(data.classes) == theirs.classes


def test_more_classes_than_answers_name_the_classes(tmp_path):
    save_images(tmp_path, TREE)
    assert complaint(tmp_path, 2) == (
        f"{tmp_path}: has 3 class folders, the model has 2 answers\n  fix: remove zebra"
    )


def test_numbered_classes_that_are_too_many_are_counted(tmp_path):
    save_images(tmp_path, {f"{n}/x.png": n for n in range(12)})
    assert complaint(tmp_path, 10).endswith("\n  fix: remove 10, 11")


def test_digits_that_make_no_number_are_text(tmp_path):
    save_images(tmp_path, {f"{n}/x.png": 1 for n in ("1", "²")})
    assert found_in(tmp_path, 2).notes == ()


UNKNOWN = (
    "the model has 1000 answers, which is which is not known "
    "(a classes.txt with all classes in order, one a line, would say it)"
)


def test_fewer_classes_than_answers_leave_labels_out(tmp_path):
    data = found_in(save_images(tmp_path, TREE), 1000)
    assert data.labels is None
    assert data.notes == (f"labels are left out: 3 class folders, {UNKNOWN}",)


def test_a_list_of_classes_says_which_is_which(tmp_path):
    save_images(tmp_path, TREE)
    (tmp_path / "classes.txt").write_text("ant\nzebra striped\ndog\n\ncat\n")
    data = found_in(tmp_path, 4)
    assert data.labels == (3, 2, 2, 1)
    assert data.classes == ("ant", "zebra", "dog", "cat")


def test_numbered_folders_are_sorted_as_text_and_that_is_said(tmp_path):
    save_images(tmp_path, {f"{n}/x.png": n for n in (1, 2, 10)})
    data = found_in(tmp_path, 3)
    assert data.classes == ("1", "10", "2")
    assert data.notes == (
        "class folders are sorted as text, as torchvision's ImageFolder does: 1, 10, 2, …",
    )
    assert found_in(save_images(tmp_path / "few", {"0/x.png": 1, "1/x.png": 2})).notes == ()


def test_a_class_without_images_would_shift_the_labels(tmp_path):
    save_images(tmp_path, TREE)
    (tmp_path / "eel").mkdir()
    assert complaint(tmp_path) == (
        f"{tmp_path}: the class folder eel has no images\n"
        "  fix: remove it, or name the folder of class folders"
    )


def test_images_beside_class_folders_are_refused(tmp_path):
    save_images(tmp_path, {**TREE, "stray.png": 5})
    assert complaint(tmp_path) == (
        f"{tmp_path}: has images of its own (stray.png) and in folders (cat)\n"
        "  fix: keep either all in class folders, or none"
    )


# Files in one folder, or one file


def test_a_flat_folder_without_a_list_has_no_labels(tmp_path):
    data = found_in(save_images(tmp_path, ["b.png", "a.png"]), 10)
    assert (data.ids, data.labels, data.notes) == (("a.png", "b.png"), None, ())


def test_one_image(tmp_path):
    save_images(tmp_path, {"a.png": 77})
    data = found_in(tmp_path / "a.png", 10)
    assert (data.ids, data.labels, data.words) == (("a.png",), None, "one image")
    assert int(data.decode(0).mean()) == 77


def test_the_shipped_images():
    fashion = load_fashion()
    for name in ("shipped", "demo"):
        data = found_in(name, 10, 1)
        assert len(set(data.ids)) == len(data) == 1000
        assert data.labels == tuple(fashion.labels)
        assert data.ids[0] == f"fashion-mnist-test/{fashion.ids[0]:05d}"
        assert np.array_equal(data.decode(3)[..., 0], fashion.images[3])
    assert found_in("shipped", 10).decode(3).shape == (28, 28, 3)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays(tmp_path, shape, channels):
    images = np.full((2, *shape), 90, np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=[1, 0], classes=["a", "b"], ids=["p", "q"])
    data = found_in(tmp_path / "x.npz", 2, channels)
    assert (data.ids, data.labels, data.classes) == (("p", "q"), (1, 0), ("a", "b"))
    assert data.decode(1).shape == (4, 6, channels)
    assert set(data.decode(1).ravel().tolist()) == {90}


def test_arrays_without_labels(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 6), np.uint8))
    data = found_in(tmp_path / "x.npz")
    assert (data.ids, data.labels) == (("x.npz/000000", "x.npz/000001"), None)


IMAGES = np.zeros((2, 4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"pixels": IMAGES},
            (
                "has no images, only pixels\n"
                "  fix: store images, uint8 [N, H, W] or [N, H, W, 3], and labels"
            ),
        ),
        (
            {"images": IMAGES.astype(np.float32)},
            "images are float32[2, 4, 6, 3]\n  fix: store uint8 [N, H, W] or [N, H, W, 3]",
        ),
        ({"images": IMAGES[:0]}, "images are [0, 4, 6, 3]: there are none"),
        ({"images": IMAGES, "labels": [1]}, "labels are [1], images [2, 4, 6, 3]"),
        ({"images": IMAGES, "labels": [0.5, 1]}, "labels are float64, whole numbers are needed"),
        *(
            (
                {"images": IMAGES, "classes": np.full(shape, 3)},
                (
                    f"classes are {list(shape)}, a list of names is needed\n"
                    "  fix: store one name for each label, in their order"
                ),
            )
            for shape in ((), (2, 2))
        ),
        (
            {"images": IMAGES, "ids": ["p", "p"]},
            "has several images under one id\n  fix: give each its own",
        ),
        (
            {"images": IMAGES, "labels": [0, -1]},
            (
                "x.npz/000001 is of class -1 (label -1), the model answers 0 to 9\n"
                "  fix: use the data that the model was trained for"
            ),
        ),
    ],
)
def test_arrays_that_are_no_images(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    assert complaint(tmp_path / "x.npz", 10) == f"{tmp_path / 'x.npz'}: {words}"


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.array([{}], object))
    assert "cannot be read as .npz" in complaint(tmp_path / "x.npz")


def test_nothing_there(tmp_path):
    fix = "\n  fix: name a folder of images, an image, an .npz, or `shipped`"
    assert complaint(tmp_path / "no") == f"{tmp_path / 'no'}: no such file or folder{fix}"
    (tmp_path / "notes.txt").write_text("")
    assert complaint(tmp_path).startswith(f"{tmp_path}: no images here (.jpg, .jpeg, ")
    assert (
        complaint(tmp_path, 0, 4) == f"{tmp_path}: the model takes 4 channels, images have 1 or 3"
    )


def break_file(path, way):
    raw = path.read_bytes()
    path.write_bytes({"truncated": raw[: len(raw) // 2], "empty": b"", "text": b"no image"}[way])


@pytest.mark.parametrize("way", ["truncated", "empty", "text"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_broken_image_is_named_when_it_is_decoded(tmp_path, name, way):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    break_file(tmp_path / name, way)
    data = found_in(tmp_path)
    with pytest.raises(PortkitError) as caught:
        data.decode(0)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be read as an image: ")
    assert str(caught.value).endswith("\n  fix: remove it or mend it, then run again")
