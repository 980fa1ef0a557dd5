"""What is hidden is hidden in pixels, everything is hidden once, and shared work changes no result."""

import pytest
import torch

from sightline.explain.occlusion import Windows, batch_size, score_hidden


@pytest.mark.parametrize("side", range(1, 41))
def test_default_windows_cover_the_picture_in_at_most_49_passes(side):
    windows = Windows.of(side)
    assert len(windows.corners) <= 49
    covered = {
        (row + r, col + c) for row, col in windows.corners for r in range(windows.size) for c in range(windows.size)
    }
    assert covered == {(row, col) for row in range(side) for col in range(side)}


@pytest.mark.parametrize(("side", "size", "stride", "passes"), [(14, None, None, 36), (14, 2, 2, 49), (14, 1, 1, 196)])
def test_how_many_passes_a_choice_of_windows_takes(side, size, stride, passes):
    windows = Windows.of(side, size, stride)
    assert len(windows.corners) == len(set(windows.corners)) == passes


@pytest.mark.parametrize(
    ("size", "stride", "message"), [(5, None, "1 to 4 patches"), (0, None, "not 0"), (2, 3, "1 to 2")]
)
def test_windows_that_do_not_fit_say_what_does(size, stride, message):
    with pytest.raises(ValueError, match=message):
        Windows.of(4, size, stride)


def test_a_window_is_painted_in_the_mean_colour_and_nothing_else_is():
    pixels = torch.rand(3, 32, 32)
    first, second = Windows(4, 2, 1).hide(pixels, [(0, 1), (2, 0)])
    assert first[:, :16, 8:24].flatten(1).equal(pixels.mean((1, 2))[:, None].expand(3, 256))
    first[:, :16, 8:24] = pixels[:, :16, 8:24]
    assert first.equal(pixels)
    assert second[:, 16:, 16:].equal(pixels[:, 16:, 16:])


def test_a_patch_has_the_mean_of_the_windows_over_it():
    windows = Windows(4, 2, 1)
    values = torch.zeros(2, 9)
    values[1, windows.corners.index((0, 0))] = 1.0
    spread = windows.spread(values)
    assert spread[1, :2, :2].tolist() == [[1.0, 0.5], [0.5, 0.25]]
    assert spread[1].sum() == 2.25
    assert not spread[0].any()
    assert windows.spread(torch.full((9,), 3.0)).equal(torch.full((4, 4), 3.0))


def one_by_one(model, asked, windows):
    """[images, windows, answer]: a whole forward for each picture that is hidden by hand."""

    def score(pixels):
        logits = model(input_ids=asked.ids, pixel_values=pixels, logits_to_keep=0).logits
        return logits[0, asked.prompt - 1 : -1].log_softmax(-1).gather(-1, asked.answer[:, None])[:, 0]

    found = []
    for image in range(len(asked.pixels)):
        for row, col in windows.corners:
            pixels = asked.pixels.clone()
            area = (slice(row * 8, (row + windows.size) * 8), slice(col * 8, (col + windows.size) * 8))
            pixels[(image, slice(None), *area)] = asked.pixels[image].mean((1, 2))[:, None, None]
            found.append(score(pixels))
    return score(asked.pixels), torch.stack(found).unflatten(0, (len(asked.pixels), -1))


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("memory", [1, 2**22, 2**40])
def test_batches_and_shared_beginnings_give_what_one_pass_each_gives(wide, forced, count, memory):
    asked, windows, told = forced(count), Windows.of(4, 2, 1), []
    seen, hidden = score_hidden(wide[0], asked, windows, memory, lambda *done: told.append(done))
    expected_seen, expected = one_by_one(wide[0], asked, windows)
    torch.testing.assert_close(seen, expected_seen.expand(count, -1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-4)
    assert (hidden - seen[:, None]).abs().max() > 0.1  # hiding does change something here
    assert told[-1] == (9 * count, 9 * count)
    assert told == sorted(told)
    assert len(told) == {1: 10 * count, 2**40: count}.get(memory, len(told))


@torch.inference_mode()
def test_hiding_nothing_changes_nothing(wide, forced):
    asked = forced(1)
    plain = asked.pixels.mean((2, 3), keepdim=True).expand_as(asked.pixels).contiguous()
    asked = type(asked)(asked.ids, asked.prompt, asked.embeddings, asked.places, plain)
    seen, hidden = score_hidden(wide[0], asked, Windows.of(4))
    torch.testing.assert_close(hidden, seen.expand_as(hidden), rtol=0, atol=1e-5)


def test_more_memory_holds_more_rows_and_the_least_holds_one(wide, forced):
    sizes = [batch_size(wide[0].config, forced(1), memory) for memory in (1, 2**20, 2**24, 2**28)]
    assert sizes[0] == 1
    assert sizes == sorted(set(sizes))
