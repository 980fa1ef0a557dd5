"""Where image features go among the embeddings, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sightline.nn.fusion import check_runs, find_runs, fuse

ID = 34


def test_the_documents_example():
    hello_world = torch.tensor([[7] + [ID] * 196 + [8]])
    h, features = torch.randn(1, 198, 4), torch.randn(1, 196, 4)
    fused = fuse(h, find_runs(hello_world, ID, 196), features)
    assert torch.equal(fused, torch.cat([h[:, :1], features, h[:, -1:]], dim=1))


def test_392_placeholders_are_two_runs():
    tokens = torch.tensor([[ID] * 392])
    placement = find_runs(tokens, ID, 196)
    assert placement.runs.tolist() == [2]
    features = torch.randn(2, 196, 3)
    fused = fuse(torch.zeros(1, 392, 3), placement, features)
    assert torch.equal(fused[0], features.flatten(0, 1))


def test_the_search_goes_left_to_right_and_the_rest_of_a_stretch_is_text():
    placement = find_runs(torch.tensor([[5, ID, ID, ID, ID, ID, 5, ID, ID, 5, ID]]), ID, 2)
    assert placement.mask.int().tolist() == [[0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]]
    assert placement.runs.tolist() == [3]


def test_a_run_does_not_reach_into_the_next_sample():
    placement = find_runs(torch.tensor([[5, 5, ID], [ID, 5, 5]]), ID, 2)
    assert placement.runs.tolist() == [0, 0]


def test_images_of_all_samples_go_in_reading_order():
    tokens = torch.tensor([[ID, ID, 5, ID, ID], [5, 5, 5, 5, 5], [5, ID, ID, 5, 5]])
    features = torch.arange(1, 7).view(3, 2, 1).float()
    fused = fuse(torch.zeros(3, 5, 1), find_runs(tokens, ID, 2), features)
    assert fused[..., 0].tolist() == [[1, 2, 0, 3, 4], [0, 0, 0, 0, 0], [0, 5, 6, 0, 0]]


def test_the_embeddings_given_are_not_changed():
    h = torch.zeros(1, 2, 3)
    fuse(h, find_runs(torch.tensor([[ID, ID]]), ID, 2), torch.ones(1, 2, 3))
    assert not h.any()


def test_gradients_reach_text_and_features_and_only_where_they_went():
    tokens = torch.tensor([[5, ID, ID, 6]])
    h, features = torch.randn(1, 4, 3, requires_grad=True), torch.randn(1, 2, 3, requires_grad=True)
    weight = torch.randn(1, 4, 3)
    (fuse(h, find_runs(tokens, ID, 2), features) * weight).sum().backward()
    assert torch.equal(features.grad[0], weight[0, 1:3])
    assert torch.equal(h.grad, weight * torch.tensor([1.0, 0, 0, 1])[:, None])


def test_features_of_another_dtype_are_cast_to_the_embeddings():
    fused = fuse(
        torch.zeros(1, 2, 2, dtype=torch.bfloat16), find_runs(torch.tensor([[ID, ID]]), ID, 2), torch.ones(1, 2, 2)
    )
    assert fused.dtype == torch.bfloat16
    assert (fused == 1).all()


def test_a_sample_with_another_number_of_runs_is_named():
    runs = torch.tensor([1, 2, 1])
    with pytest.raises(ValueError, match="sample 1: found 2 runs of image placeholders, but 1 images were given"):
        check_runs(runs, (3, 1))
    check_runs(torch.tensor([2, 2]), (2, 2))


def test_flat_images_are_counted_over_the_batch():
    runs = torch.tensor([1, 0, 2])
    with pytest.raises(
        ValueError, match=r"found 3 runs .*\(sample 0: 1, sample 1: 0, sample 2: 2\), but 4 images were given"
    ):
        check_runs(runs, (4,))
    check_runs(runs, (3,))


def test_images_for_another_number_of_samples_are_refused():
    with pytest.raises(ValueError, match="the batch has 1 samples, but images were given for 2"):
        check_runs(torch.tensor([2]), (2, 1))


def test_only_the_check_waits_for_the_device():
    # Tensors without data: whatever asks for a value fails.
    tokens = torch.zeros(2, 9, dtype=torch.long, device="meta")
    placement = find_runs(tokens, ID, 2)
    fused = fuse(torch.zeros(2, 9, 3, device="meta"), placement, torch.zeros(4, 2, 3, device="meta"))
    assert fused.shape == (2, 9, 3)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        check_runs(placement.runs, (2, 2))


COMPILED = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from tiny import IMAGE, tiny_vlm
from sightline.nn.fusion import find_runs, fuse
torch.set_num_threads(1)
fused = torch.compile(lambda t, h, f: fuse(h, find_runs(t, 34, 2), f), fullgraph=True, dynamic=True, backend=BACKEND)
for seq in (5, 9):
    t = torch.full((2, seq), 7); t[0, 1:3] = 34; t[1, 2:4] = 34
    h, f = torch.randn(2, seq, 4), torch.randn(2, 2, 4)
    torch.testing.assert_close(fused(t, h, f), fuse(h, find_runs(t, 34, 2), f))

model, ids, pixels = tiny_vlm(), torch.tensor([[5, *IMAGE, 6]]), torch.randn(1, 1, 3, 32, 32)
with torch.no_grad():
    whole = torch.compile(model, fullgraph=True, backend=BACKEND)
    got = whole(input_ids=ids, pixel_values=pixels, check_images=False, use_cache=False).logits
    torch.testing.assert_close(got, model(ids, pixel_values=pixels).logits, rtol=1e-3, atol=1e-3)
"""


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_fusion_and_the_whole_model_compile_as_one_graph(backend):
    # In a process of its own: the shape checks that tests install would break the graph.
    code = COMPILED.replace("BACKEND", repr(backend))
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True, timeout=300)
