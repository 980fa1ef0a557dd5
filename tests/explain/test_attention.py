"""The weights are a plain eager forward's, and the shared model never learns that anyone asked for them."""

import copy
import threading

import pytest
import torch

from sightline.explain.attention import attend, eager_twin, roll_out
from sightline.nn.vlm import VLM


def eager(model, forced):
    """[layers, heads, seq, seq] and log probabilities of the answer, of a whole model that is eager."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "eager"
    plain = VLM(config).eval()
    plain.load_state_dict(model.state_dict())
    out = plain(input_ids=forced.ids, pixel_values=forced.pixels, output_attentions=True, logits_to_keep=0)
    scores = out.logits[0, forced.prompt - 1 : -1].log_softmax(-1)
    return torch.cat(out.attentions), scores.gather(-1, forced.answer[:, None])[:, 0]


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("layer", "head"), [(None, None), (1, None), (None, 0), (0, 1)])
def test_weights_and_probabilities_are_those_of_a_plain_eager_forward(wide, forced, count, layer, head):
    asked = forced(count)
    every, scores = eager(wide[0], asked)
    chosen = every[slice(None) if layer is None else slice(layer, layer + 1)]
    chosen = chosen[:, slice(None) if head is None else slice(head, head + 1)].mean((0, 1))
    found_scores, found = attend(wide[0], asked, layer, head)
    assert found.shape == (3, count, 16)
    torch.testing.assert_close(found, chosen[asked.prompt - 1 : -1][:, asked.places], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found_scores, scores, rtol=1e-4, atol=1e-4)
    assert 0 < found.sum((1, 2)).max() < 1  # the rest is on text
    assert found.std() > 0.001  # not weights that are all alike


@torch.inference_mode()
def test_rollout_is_the_product_of_the_layers_with_their_residuals(wide, forced):
    asked = forced(2)
    every, scores = eager(wide[0], asked)
    seq = every.shape[-1]
    flow = torch.eye(seq)
    for weights in every.mean(1):
        flow = (0.5 * weights + 0.5 * torch.eye(seq)) @ flow
    torch.testing.assert_close(flow.sum(-1), torch.ones(seq))
    found_scores, found = roll_out(wide[0], asked)
    torch.testing.assert_close(found, flow[asked.prompt - 1 : -1][:, asked.places], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found_scores, scores, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_sliding_window_keeps_the_patches_in_their_places(wide, forced):
    config = copy.deepcopy(wide[0].config)
    config.sliding_window = 6
    model = VLM(config).eval()
    model.load_state_dict(wide[0].state_dict())
    asked = forced(1, model)
    every, _ = eager(model, asked)
    expected = every.mean((0, 1))[asked.prompt - 1 : -1][:, asked.places]
    torch.testing.assert_close(attend(model, asked)[1], expected, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_the_shared_model_stays_as_it_was_for_other_threads(wide, forced):
    model, asked = wide[0], forced(2)
    before = model(input_ids=asked.ids, pixel_values=asked.pixels, logits_to_keep=0).logits
    seen, stop = [], threading.Event()

    @torch.inference_mode()
    def others():
        while not stop.is_set():
            out = model(input_ids=asked.ids, pixel_values=asked.pixels, logits_to_keep=0)
            seen.append((model.config._attn_implementation, out.attentions, out.logits.equal(before)))

    thread = threading.Thread(target=others)
    thread.start()
    for _ in range(5):
        attend(model, asked)
        roll_out(model, asked)
    stop.set()
    thread.join()
    assert seen
    assert set(seen) == {("sdpa", None, True)}
    hooks = [module for module in model.modules() if module._forward_hooks]
    assert not hooks


def test_a_twin_shares_every_weight_and_no_module(wide):
    language = wide[0].model
    twin = eager_twin(language, lambda *_: None)
    own, others = dict(twin.named_parameters()), dict(language.named_parameters())
    assert own.keys() == others.keys()
    assert all(own[name] is others[name] for name in own)
    assert not set(map(id, twin.modules())) & set(map(id, language.modules()))
