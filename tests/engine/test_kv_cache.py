"""The paged KV cache: where rows go, that they come back, and that memory is taken once."""

import pytest
import torch

from sightline.config import LLMConfig
from sightline.engine.kv_cache import PagedKVCache, bytes_per_block, default_budget
from sightline.engine.step import Copy

CONFIG = LLMConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
HEADS, WIDTH = 2 * CONFIG.num_key_value_heads, CONFIG.head_dim


def cache_of(num_blocks=6, block_size=4, **kwargs):
    return PagedKVCache(CONFIG, num_blocks, block_size, **kwargs)


def rows_of(count, seed=0):
    return torch.randn(count, HEADS, WIDTH, generator=torch.Generator().manual_seed(seed))


def stored(cache, layer, blocks):
    """All rows of `blocks`, `[rows, 2 kv_heads, head_dim]`, read one by one."""
    slots = cache.slots_of(blocks, 0, len(blocks) * cache.block_size)
    return torch.stack([cache.layers[layer][:, slot] for slot in slots])


def test_slots_are_the_blocks_in_the_sequences_order():
    assert cache_of().slots_of([5, 0, 2], 3, 10) == [23, 0, 1, 2, 3, 8, 9]


def test_rows_come_back_from_scattered_blocks():
    cache, blocks, rows = cache_of(), [5, 0, 2], rows_of(12)
    cache.write(1, torch.tensor(cache.slots_of(blocks, 0, 12)), rows)
    keys, values = cache.split(cache.gather(1, cache.index(torch.tensor([blocks]))), 1)
    assert keys.shape == values.shape == (2, 1, 12, WIDTH)
    torch.testing.assert_close(torch.cat((keys, values))[:, 0], rows.transpose(0, 1), rtol=0, atol=0)
    assert not cache.layers[0].any()


def test_several_tables_are_read_at_once():
    cache, tables = cache_of(), torch.tensor([[5, 0], [2, 4]])
    for number, table in enumerate(tables.tolist()):
        cache.write(0, torch.tensor(cache.slots_of(table, 0, 8)), rows_of(8, seed=number))
    keys, values = cache.split(cache.gather(0, cache.index(tables)), 2)
    for number in (0, 1):
        mine = slice(number * 2, number * 2 + 2)
        both = torch.cat((keys[mine], values[mine]))[:, 0]
        torch.testing.assert_close(both, rows_of(8, seed=number).transpose(0, 1), rtol=0, atol=0)


def test_blocks_side_by_side_are_read_where_they_lie():
    cache, rows = cache_of(), rows_of(8)
    cache.write(0, torch.arange(8, 16), rows)
    keys, values = cache.span(0, 9, 15)
    torch.testing.assert_close(torch.cat((keys, values))[:, 0], rows[1:7].transpose(0, 1), rtol=0, atol=0)
    assert keys.untyped_storage().data_ptr() == cache.layers[0].untyped_storage().data_ptr()


def test_a_copy_takes_the_first_rows_of_a_block_in_every_layer():
    cache = cache_of()
    for layer in (0, 1):
        cache.write(layer, torch.arange(4, 8), rows_of(4, seed=layer))
    cache.copy([Copy(source=1, target=3, count=3)])
    for layer in (0, 1):
        torch.testing.assert_close(stored(cache, layer, [3])[:3], rows_of(4, seed=layer)[:3], rtol=0, atol=0)
        assert not stored(cache, layer, [3])[3:].any()
        torch.testing.assert_close(stored(cache, layer, [1]), rows_of(4, seed=layer), rtol=0, atol=0)


def test_a_budget_in_bytes_is_kept():
    for dtype in (torch.float32, torch.bfloat16):
        cache = cache_of(num_blocks=9, dtype=dtype)
        assert cache.nbytes == (9 + 1) * bytes_per_block(CONFIG, 4, dtype)  # and the scratch block


def test_writing_and_reading_into_the_workspace_allocates_nothing_new():
    cache = cache_of()
    before = [layer.data_ptr() for layer in cache.layers]
    first = cache.workspace(12)
    cache.write(0, torch.tensor([3]), rows_of(1))
    assert cache.workspace(5).data_ptr() == cache.workspace(12).data_ptr() == first.data_ptr()
    assert [layer.data_ptr() for layer in cache.layers] == before


def test_the_workspace_grows_in_powers_of_two():
    cache = cache_of()
    places = set()
    held = []  # so that no address comes twice
    for rows in range(1, 200):
        held.append(cache.workspace(rows))
        places.add(held[-1].data_ptr())
    assert len(places) <= 9


@pytest.mark.parametrize(("blocks", "size"), [(0, 4), (4, 0)])
def test_a_cache_without_room_is_an_error(blocks, size):
    with pytest.raises(ValueError, match=f"num_blocks={blocks}, block_size={size}"):
        cache_of(blocks, size)


def test_without_a_budget_the_longest_text_fits_up_to_two_gibibytes():
    def budget(positions):
        config = LLMConfig(
            hidden_size=1024, num_attention_heads=16, num_hidden_layers=28, max_position_embeddings=positions
        )
        return default_budget(config, 16, torch.float32)

    per_token = 2 * 28 * 1024 * 4
    assert budget(1024) == 2**29
    assert budget(4096) == (4096 + 16) * per_token
    assert budget(131_072) == 2**31
