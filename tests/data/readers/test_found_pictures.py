"""Pictures that rows name in other ways than by their path, and pictures that no row shows."""

import pytest

from sightline.data.readers import open_data


def first_picture(rows):
    return rows[0].images


@pytest.mark.parametrize("value", ["img\\0.png", "img/0", "img\\0", ".\\img\\0.png"])
def test_a_path_of_windows_or_without_its_ending_is_found(write_csv, folder, value):
    (folder / "img").mkdir()
    (folder / "0.png").rename(folder / "img/0.png")
    (folder / "img/0.txt").write_text("beside it")
    rows = open_data(write_csv(("image", "question", "answer"), (value, "Q", "A")))
    assert [one.replace("/./", "/") for one in first_picture(rows)] == [str(folder / "img/0.png")]


def test_a_number_is_the_name_of_a_picture(write_lines, folder):
    rows = open_data(write_lines({"image_id": 3, "question": "Q", "answer": "A"}), image_column="image_id")
    assert first_picture(rows) == [str(folder / "3.png")]


def test_a_name_without_ending_that_several_pictures_have_is_none_of_them(write_csv, folder):
    (folder / "0.jpg").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(FileNotFoundError, match="there is no picture"):
        open_data(write_csv(("image", "question", "answer"), ("0", "Q", "A")))[0]


def test_one_picture_found_by_two_endings_is_one(write_csv, folder):
    (folder / "0.PNG").hardlink_to(folder / "0.png")  # as where case does not count
    rows = open_data(write_csv(("image", "question", "answer"), ("0", "Q", "A")))
    assert first_picture(rows)[0].lower() == str(folder / "0.png").lower()


UNSHOWN = "5 pictures lie in .* and no row shows one: name the column by image_column"


def test_pictures_that_no_row_of_a_table_shows_are_not_passed_over(write_csv):
    folder = write_csv(("image_id", "question", "answer"), ("0", "Q", "A"))
    with pytest.raises(ValueError, match=UNSHOWN):
        open_data(folder)
    assert len(open_data(folder, image_column="image_id")[0].images) == 1
    assert open_data(folder / "metadata.csv")[0].images == []


def test_pictures_that_only_a_later_row_shows_are_shown(write_lines, folder):
    texts = [{"question": "1+1?", "answer": "2"}] * 150
    with pytest.raises(ValueError, match=UNSHOWN):
        open_data(write_lines(*texts))
    assert len(open_data(write_lines(*texts, {"image": "0.png", "question": "Q", "answer": "A"}))) == 151


def test_rows_of_text_need_no_pictures(write_csv, folder):
    for picture in folder.glob("*.png"):
        picture.unlink()
    assert len(open_data(write_csv(("question", "answer"), ("1+1?", "2")))) == 1
