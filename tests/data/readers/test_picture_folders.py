"""Folders of pictures without a file of rows: classes by the folders' names, captions by text files beside."""

import doctest
import os

import pytest
from PIL import Image

from sightline.data.pictures import look_at, size_of_picture
from sightline.data.readers import folder as folder_module
from sightline.data.readers import open_data


def save(path, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 90).convert("RGB").save(path)


def answers(rows, said):
    return [said(row)[1][1] for row in rows]


@pytest.mark.parametrize("ending", ["ppm", "tga", "jp2", "ico", "avif"])
def test_pictures_of_rarer_formats_are_read(tmp_path, said, ending):
    save(tmp_path / "cat/0.png")
    save(tmp_path / f"dog/0.{ending}", (32, 32))
    rows = open_data(tmp_path)
    assert answers(rows, said) == ["cat", "dog"]
    assert (look_at(rows[1].images[0]).width, size_of_picture(rows[1].images[0])) == (32, (32, 32))


@pytest.mark.parametrize("ending", ["heic", "jxl", "psd", "svg", "dng"])
def test_pictures_that_cannot_be_read_are_rows_that_say_so(tmp_path, ending):
    save(tmp_path / "cat/0.png")
    (tmp_path / "dog").mkdir()
    if ending == "dng":  # of which only the preview could be read
        Image.new("RGB", (20, 30)).save(tmp_path / "dog/0.dng", "TIFF")
    else:
        (tmp_path / f"dog/0.{ending}").write_bytes(b"another format" * 9)
    rows = open_data(tmp_path)
    assert len(rows) == 2
    with pytest.raises(ValueError, match="is not an image that can be read"):
        look_at(rows[1].images[0])


def test_folders_without_a_picture_are_named_beside_the_classes(tmp_path):
    save(tmp_path / "cat/black/0.png")
    (tmp_path / ".hidden").mkdir()
    assert "named after 1 class (black); asked" in open_data(tmp_path).format
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog/notes.txt").write_text("none yet")
    assert "named after 1 class (black); no picture is in dog; asked" in open_data(tmp_path).format


def test_linked_folders_are_folders_and_none_is_walked_round_and_round(tmp_path):
    save(tmp_path / "elsewhere/0.png")
    save(tmp_path / "pets/cat/0.png")
    (tmp_path / "pets/dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "pets/cat/up").symlink_to(tmp_path / "pets", target_is_directory=True)
    rows = open_data(tmp_path / "pets")
    assert "named after 2 classes (cat, dog)" in rows.format
    assert len(rows) == 2


def test_folders_linked_into_each_other_are_walked_once(tmp_path):
    save(tmp_path / "pets/cat/0.png")
    save(tmp_path / "pets/dog/1.png")
    for one, other in (("cat", "dog"), ("dog", "cat")):
        (tmp_path / "pets" / one / "x").symlink_to(tmp_path / "pets" / other, target_is_directory=True)
    # Each is a folder, and once a linked one in the other.
    assert len(open_data(tmp_path / "pets", format="classes")) == 4


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    save(tmp_path / "pets/cat/0.png")
    save(tmp_path / "pets/dog/1.png")
    scandir = os.scandir

    def refuse(place):
        if os.fspath(place).endswith("dog"):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"the folder .*dog cannot be read: Permission denied"):
        open_data(tmp_path / "pets")


def captioned(folder, *captions):
    for number, text in enumerate(captions):
        save(folder / f"{number}.png")
        if text is not None:
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def test_text_files_beside_pictures_are_their_captions(tmp_path, said):
    rows = open_data(captioned(tmp_path, "a cat\n", "ein Bär", None))
    assert said(rows[0]) == [("user", "[picture]Describe the picture."), ("assistant", "a cat")]
    assert said(rows[1])[1] == ("assistant", "ein Bär")
    assert "captions in text files beside them; asked: 'Describe the picture.'" in rows.format
    with pytest.raises(ValueError, match=r"2\.png: it has no caption: write it into 2\.txt"):
        rows[2]
    before = rows.fingerprint()
    (tmp_path / "0.txt").write_text("a dog")
    assert rows.fingerprint() != before


def test_captions_go_before_the_names_of_folders_unless_these_are_said_to_be_classes(tmp_path, said):
    captioned(tmp_path / "10_cats", "a cat")
    assert answers(open_data(tmp_path), said) == ["a cat"]
    assert answers(open_data(tmp_path, format="classes"), said) == ["10 cats"]


def test_a_caption_that_is_empty_or_a_number_hides_no_others(tmp_path, said):
    rows = open_data(captioned(tmp_path / "10_dog", "", "4821", "a dog"))
    assert said(rows[2])[1] == ("assistant", "a dog")


def test_boxes_of_detectors_are_no_captions(tmp_path):
    with pytest.raises(ValueError, match="nothing that tells what to learn"):
        open_data(captioned(tmp_path, "0 0.5 0.5 0.1 0.1\n"))


def test_a_folder_that_holds_only_train_is_that_folder(tmp_path, said):
    save(tmp_path / "train/0.png")
    (tmp_path / "train/metadata.csv").write_text("file_name,text\n0.png,a cat\n")
    (tmp_path / "README.md").write_text("about it")
    rows = open_data(tmp_path)
    assert answers(rows, said) == ["a cat"]
    assert rows.where(0) == f"{tmp_path}/train/metadata.csv, line 2"


def test_the_examples_hold():
    assert doctest.testmod(folder_module).failed == 0


@pytest.mark.parametrize("name", ["images", "n0144/images", "JPEGImages"])
def test_a_folder_that_only_says_that_it_holds_pictures_is_no_class(tmp_path, said, name):
    save(tmp_path / "photos" / name / "0.png")
    with pytest.raises(ValueError, match=r"is no class, and nothing that tells what to learn .*: add a metadata\.csv"):
        open_data(tmp_path / "photos")
    assert answers(open_data(tmp_path / "photos", format="classes"), said) == [name.rpartition("/")[2]]


@pytest.mark.parametrize(("mark", "rows"), [("recipe.yaml", "log.jsonl"), ("settings.json", "answers.jsonl")])
def test_a_run_below_the_pictures_that_it_learned_from_is_none_of_them(tmp_path, said, mark, rows):
    save(tmp_path / "cat/0.png")
    save(tmp_path / "dog/0.png")
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one" / rows).write_text("{}\n")
    with pytest.raises(ValueError, match="holds runs/one/"):
        open_data(tmp_path)
    (tmp_path / "runs/one" / mark).write_text("{}")
    assert answers(open_data(tmp_path), said) == ["cat", "dog"]


def test_a_list_of_classes_beside_their_folders_does_not_hide_the_pictures(tmp_path):
    save(tmp_path / "cat/0.png")
    (tmp_path / "classes.json").write_text('["cat", "dog"]')
    with pytest.raises(ValueError, match=r"1 pictures lie in .* and no row shows one: .* or format classes"):
        open_data(tmp_path)
