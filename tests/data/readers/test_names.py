"""Names come back as they were given, and take a few bytes more than their letters."""

import os
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.readers.folder import PictureItems
from sightline.data.readers.names import Names

# What the file system may hold: any bytes, of which those that are no UTF-8 become lone surrogates.
file_names = st.binary(max_size=20).map(os.fsdecode)


@given(st.lists(file_names | st.text(st.characters(exclude_categories=["Cs"])), max_size=12))
def test_names_are_the_list_that_they_were_made_from(given):
    names = Names(iter(given))
    assert list(names) == given
    assert len(names) == len(given)
    assert [names[n - len(given)] for n in range(len(given))] == given
    assert names[1:-1] == given[1:-1]
    assert list(pickle.loads(pickle.dumps(names))) == given
    with pytest.raises(IndexError):
        names[len(given)]


def test_pictures_in_folders_hold_no_object_a_name(tmp_path):
    count, names = 20_000, [f"birds/grey_heron/{n:06d}.png" for n in range(20_000)]
    tracemalloc.start()
    try:
        items = PictureItems(tmp_path, (f"birds/grey_heron/{n:06d}.png" for n in range(count)), classes=True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < count * (len(names[0]) + 16)  # a string of that length takes 49 bytes more than its letters
    for number in (0, 1, count // 2, count - 1):
        assert items[number].where == str(items.place(number)) == names[number]
        assert items[number].fields == {"image": names[number], "label": "grey heron"}
    assert [item.fields["image"] for item in items.read(5, 9)] == names[5:9]
