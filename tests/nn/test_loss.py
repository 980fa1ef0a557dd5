"""The chunked cross-entropy is the plain one, in value, gradient and nothing else."""

import pytest
import torch
from torch.nn import functional as F

from sightline.nn.loss import chunked_cross_entropy

from .tiny import IMAGE, tiny_vlm


@pytest.mark.parametrize(("tokens", "chunk"), [(7, 3), (6, 3), (2, 8), (1, 1)])
def test_value_and_gradients_are_the_plain_cross_entropys(tokens, chunk):
    torch.manual_seed(0)
    states = torch.randn(tokens, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (tokens,))
    plain = F.cross_entropy((states @ weight.T).float(), targets, reduction="sum")
    chunked = chunked_cross_entropy(states, weight, targets, chunk)
    torch.testing.assert_close(chunked, plain)
    for one, other in zip(
        torch.autograd.grad(chunked, (states, weight)), torch.autograd.grad(plain, (states, weight)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_supervised_token_is_a_loss_of_zero_that_can_be_differentiated():
    states = torch.randn(0, 4, requires_grad=True)
    loss = chunked_cross_entropy(states, torch.randn(9, 4), torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss == 0


def largest_tensor(run):
    """The largest number of elements of any tensor that `run` makes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.largest = max(self.largest, tensor.numel())
            return result

    with Watch() as watch:
        run()
    return watch.largest


def test_the_logits_are_never_whole():
    states, weight = torch.randn(64, 8, requires_grad=True), torch.randn(1000, 8, requires_grad=True)
    targets = torch.randint(1000, (64,))
    chunked = largest_tensor(lambda: chunked_cross_entropy(states, weight, targets, chunk=4).backward())
    plain = largest_tensor(lambda: F.cross_entropy(states @ weight.T, targets).backward())
    assert plain == 64 * 1000
    assert chunked == 1000 * 8  # the weight's own gradient


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("items", [None, 40])
def test_the_models_loss_without_logits_is_its_loss_with_them(sparse, items):
    fields = {"use_moe": True, "n_routed_experts": 4, "aux_loss_alpha": 0.5} if sparse else {}
    model = tiny_vlm(**fields).train()
    ids = torch.tensor([[1, *IMAGE, 50, 51, 52, 2]])
    batch = {"input_ids": ids, "labels": ids.clone().index_fill(1, torch.arange(18), -100)}
    batch["pixel_values"] = torch.randn(1, 3, 32, 32)
    plain = model(**batch, num_items_in_batch=items)
    lean = model(**batch, num_items_in_batch=items, skip_logits=True)
    assert lean.logits is None
    torch.testing.assert_close(lean.loss, plain.loss)


def test_a_loss_alone_needs_labels():
    with pytest.raises(ValueError, match=r"skip_logits gives the loss alone, which needs labels"):
        tiny_vlm()(input_ids=torch.tensor([[1, 2]]), skip_logits=True)
