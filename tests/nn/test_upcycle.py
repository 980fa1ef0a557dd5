"""A dense model turned into experts starts where the dense one stands, and its experts can part."""

import pytest
import torch
from tiny import IMAGE, tiny_vlm

from sightline.interop.upcycle import upcycle
from sightline.nn.vlm import VLM


def inputs():
    ids = torch.tensor([[5, *IMAGE, 7, 9, 11], [8, *IMAGE, 60, 12, 14]])
    return {"input_ids": ids, "pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize("chosen", [1, 2, 4])
@torch.no_grad()
def test_without_noise_it_computes_what_the_dense_model_computes(chosen):
    dense = tiny_vlm()
    sparse = upcycle(dense, 4, chosen, noise=0.0)
    expected = dense(**inputs()).logits
    assert (sparse(**inputs()).logits - expected).abs().max().item() <= 1e-5 * expected.abs().max().item()


def test_each_expert_is_the_feed_forward_with_noise_of_its_own():
    dense = tiny_vlm()
    mlp = upcycle(dense, 4, 2, noise=0.1).model.layers[1].mlp
    up = dense.model.layers[1].mlp.up_proj.weight
    inner = up.shape[0]
    noise = (mlp.experts.gate_up_proj[:, inner:] - up) / up.std()
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    correlations = torch.corrcoef(noise.flatten(1)) - torch.eye(4)
    assert correlations.abs().max() < 0.1


def test_the_dense_model_stays_as_it_was_and_all_else_is_the_same():
    dense = tiny_vlm()
    before = {name: weight.clone() for name, weight in dense.state_dict().items()}
    sparse = upcycle(dense, 3, 1)
    assert all(torch.equal(weight, before[name]) for name, weight in dense.state_dict().items())
    assert not dense.config.use_moe
    shared = before.keys() & sparse.state_dict().keys()
    assert shared == {name for name in before if ".mlp." not in name or name.startswith("vision_encoder")}
    assert all(torch.equal(sparse.state_dict()[name], before[name]) for name in shared)


def test_the_config_says_what_the_model_is():
    sparse = upcycle(tiny_vlm(), 6, 3)
    assert sparse.config.use_moe
    assert (sparse.config.n_routed_experts, sparse.config.num_experts_per_token) == (6, 3)
    assert sparse.config.moe_intermediate_size == sparse.config.intermediate_size
    assert all(map(sparse.config.is_sparse, range(2)))


def test_the_same_seed_gives_the_same_experts():
    dense = tiny_vlm()
    torch.manual_seed(1)
    one = upcycle(dense, seed=5).state_dict()
    torch.manual_seed(2)
    other, third = upcycle(dense, seed=5).state_dict(), upcycle(dense, seed=6).state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert not all(torch.equal(weight, third[name]) for name, weight in one.items())


@torch.no_grad()
def test_saved_and_reloaded_it_is_the_same_model(tmp_path):
    sparse = upcycle(tiny_vlm())
    sparse.save_pretrained(tmp_path)
    again = VLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs()).logits, sparse(**inputs()).logits)
    generated = again.generate(**inputs(), max_new_tokens=3, do_sample=False)
    assert torch.equal(generated, sparse.generate(**inputs(), max_new_tokens=3, do_sample=False))


def test_the_experts_and_the_router_learn():
    sparse = upcycle(tiny_vlm()).train()
    ids = inputs()["input_ids"]
    sparse(**inputs(), labels=ids).loss.backward()
    mlp = sparse.model.layers[0].mlp
    assert mlp.gate.weight.grad.abs().sum() > 0
    assert mlp.experts.down_proj.grad.abs().sum() > 0


def test_what_cannot_be_upcycled_is_refused():
    with pytest.raises(ValueError, match="already has 4 experts"):
        upcycle(upcycle(tiny_vlm()))
    with pytest.raises(ValueError, match="num_experts_per_token=5"):
        upcycle(tiny_vlm(), 4, 5)
    with pytest.raises(ValueError, match=r"noise is a standard deviation, not -0\.1"):
        upcycle(tiny_vlm(), noise=-0.1)
