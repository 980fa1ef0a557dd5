"""The cache of image features: least recently used out first, never above its bytes, keys compared whole."""

from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.engine.image_cache import ImageCache

ROW = 8 * 4  # bytes of features(1)


def features(patches, value=0.0):
    return torch.full((patches, 8), value)


def key(number):
    return bytes([number]) * 32


def test_what_was_put_is_found_and_counted():
    cache = ImageCache(10 * ROW)
    assert cache.get(key(1)) is None
    cache.put(key(1), features(2, 1.0))
    assert torch.equal(cache.get(key(1)), features(2, 1.0))
    assert (cache.hits, cache.misses, cache.bytes, len(cache), cache.evictions) == (1, 1, 2 * ROW, 1, 0)


def test_the_least_recently_used_goes_first():
    cache = ImageCache(3 * ROW)
    for number in (1, 2, 3):
        cache.put(key(number), features(1))
    cache.get(key(1))
    cache.put(key(4), features(2))
    assert [number for number in (1, 2, 3, 4) if key(number) in cache] == [1, 4]
    assert (cache.evictions, cache.bytes) == (2, 3 * ROW)


def test_looking_whether_a_key_is_there_is_no_use():
    cache = ImageCache(2 * ROW)
    cache.put(key(1), features(1))
    cache.put(key(2), features(1))
    assert key(1) in cache
    cache.put(key(3), features(1))
    assert key(1) not in cache
    assert (cache.hits, cache.misses) == (0, 0)


@pytest.mark.parametrize("limit", [0, 2 * ROW])
def test_what_is_larger_than_the_budget_is_not_kept_and_evicts_nothing(limit):
    cache = ImageCache(limit)
    if limit:
        cache.put(key(1), features(2))
    large = features(3)
    assert cache.put(key(2), large) is large
    assert key(2) not in cache
    assert (key(1) in cache, cache.bytes, cache.evictions) == (bool(limit), limit, 0)


@pytest.mark.parametrize("common", [0, 8, 16, 31])
def test_keys_that_begin_alike_are_different_keys(common):
    first, second = (bytes(common) + bytes([number]) * (32 - common) for number in (1, 2))
    cache = ImageCache(10 * ROW)
    cache.put(first, features(1, 1.0))
    assert second not in cache
    assert cache.get(second) is None
    assert cache.get(first[:31]) is None
    cache.put(second, features(1, 2.0))
    assert torch.equal(cache.get(first), features(1, 1.0))
    assert torch.equal(cache.get(second), features(1, 2.0))


def test_keys_of_one_hash_are_compared_whole():
    class Colliding(bytes):
        def __hash__(self):
            return 0

        def __eq__(self, other):
            return bytes(self) == bytes(other)

    cache = ImageCache(10 * ROW)
    cache.put(Colliding(key(1)), features(1, 1.0))
    assert cache.get(Colliding(key(2))) is None
    assert torch.equal(cache.get(Colliding(key(1))), features(1, 1.0))


def test_features_that_a_caller_holds_outlive_their_eviction():
    cache = ImageCache(ROW)
    held = cache.put(key(1), features(1, 1.0))
    cache.put(key(2), features(1, 2.0))
    assert key(1) not in cache
    assert torch.equal(held, features(1, 1.0))


def test_a_part_of_a_batch_does_not_keep_the_batch_in_memory():
    cache = ImageCache(10 * ROW)
    batch = torch.rand(4, 2, 8)
    held = cache.put(key(1), batch[1])
    assert torch.equal(held, batch[1])
    assert held.untyped_storage().nbytes() == cache.bytes == 2 * ROW
    assert cache.get(key(1)) is held
    whole = features(2)
    assert cache.put(key(2), whole).data_ptr() == whole.data_ptr()


def test_features_are_kept_without_the_graph_that_made_them():
    weight = torch.ones(8, requires_grad=True)
    cache = ImageCache(10 * ROW)
    cache.put(key(1), features(1) * weight)
    assert cache.get(key(1)).grad_fn is None


def test_a_key_put_again_is_counted_once():
    cache = ImageCache(10 * ROW)
    cache.put(key(1), features(3))
    cache.put(key(1), features(2, 1.0))
    assert (len(cache), cache.bytes) == (1, 2 * ROW)
    assert torch.equal(cache.get(key(1)), features(2, 1.0))


def test_clearing_drops_everything():
    cache = ImageCache(10 * ROW)
    cache.put(key(1), features(1))
    cache.clear()
    assert (len(cache), cache.bytes, key(1) in cache) == (0, 0, False)


def test_a_negative_budget_is_an_error():
    with pytest.raises(ValueError, match="max_bytes=-1 is negative"):
        ImageCache(-1)


@settings(deadline=None)
@given(
    limit=st.integers(0, 6),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(1, 4)), max_size=30),
)
def test_it_holds_what_a_plain_list_in_order_of_use_would(limit, steps):
    cache, plain = ImageCache(limit * ROW), OrderedDict()
    for puts, number, patches in steps:
        if puts:
            cache.put(key(number), features(patches))
            plain.pop(number, None)
            if patches <= limit:
                plain[number] = patches
            while sum(plain.values()) > limit:
                plain.popitem(last=False)
        else:
            found = cache.get(key(number))
            assert (None if found is None else len(found)) == plain.get(number)
            if number in plain:
                plain.move_to_end(number)
        assert cache.bytes == sum(plain.values()) * ROW <= cache.max_bytes
        assert {number for number in range(5) if key(number) in cache} == set(plain)
