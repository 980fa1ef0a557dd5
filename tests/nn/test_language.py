"""The language model: logits, which of them are computed, loss and its scaling, caches, padding, checkpointing."""

import copy

import pytest
import torch
from tiny import left_padded
from torch.nn import functional as F
from transformers import DynamicCache, StaticCache

from sightline.config import LLMConfig
from sightline.nn.language import LLM, CausalLM

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.3}


def language_model(seed=0, **fields):
    torch.manual_seed(seed)
    return CausalLM(LLMConfig(**{**SIZES, **fields})).eval()


@pytest.fixture(scope="module")
def model():
    return language_model()


IDS = torch.randint(1, 64, (2, 9), generator=torch.Generator().manual_seed(1))


def test_logits_are_the_head_over_the_normed_states(model):
    states = model.model(IDS).last_hidden_state
    torch.testing.assert_close(model(IDS).logits, states @ model.lm_head.weight.T)


def test_the_parts_are_the_documents(model):
    assert isinstance(model.model, LLM)
    assert isinstance(model.lm_head, torch.nn.Linear)
    assert len(model.model.layers) == 2


def test_tied_embeddings_are_one_tensor_and_untied_are_two():
    tied, untied = language_model(tie_word_embeddings=True), language_model(tie_word_embeddings=False)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


@pytest.mark.parametrize("tied", [True, False])
def test_a_reload_gives_the_same_logits(tmp_path, tied):
    model = language_model(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    torch.testing.assert_close(CausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("keep", [1, 3, torch.tensor([0, 4])])
def test_logits_to_keep_computes_only_those(model, keep):
    whole, seen = model(IDS).logits, []
    hook = model.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    kept = model(IDS, logits_to_keep=keep).logits
    hook.remove()
    torch.testing.assert_close(kept, whole[:, -keep:] if isinstance(keep, int) else whole[:, keep])
    assert seen == [kept.shape[1]]


def test_logits_to_keep_defaults_to_the_configs():
    model = language_model(logits_to_keep=2)
    assert model(IDS).logits.shape[1] == 2
    assert model(IDS, logits_to_keep=0).logits.shape[1] == 9
    assert model(IDS, labels=IDS).logits.shape[1] == 9


def test_labels_with_logits_to_keep_are_refused(model):
    with pytest.raises(ValueError, match="labels need the logits of every position"):
        model(IDS, labels=IDS, logits_to_keep=1)


def test_exactly_one_kind_of_input(model):
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(IDS, inputs_embeds=torch.zeros(2, 9, 32))
    embeds = model.model.embed_tokens(IDS)
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, model(IDS).logits)


def test_the_loss_is_the_shifted_mean_cross_entropy(model):
    labels = IDS.clone()
    labels[:, :4] = -100
    out = model(IDS, labels=labels)
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits[:, 3:-1].flatten(0, 1), IDS[:, 4:].flatten()))


@pytest.mark.parametrize("fields", [{}, {"use_moe": True, "n_routed_experts": 4, "aux_loss_alpha": 0.0}])
def test_micro_batches_accumulate_to_the_whole_batchs_gradient(fields):
    model = language_model(**fields).train()
    labels = IDS.clone()
    labels[0, :6] = -100  # an unequal number of labels in the two
    count = (labels[:, 1:] != -100).sum()
    model(IDS, labels=labels).loss.backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for row in (0, 1):
        micro = slice(row, row + 1)
        model(IDS[micro], labels=labels[micro], num_items_in_batch=count).loss.backward()
    for parameter, expected in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_the_routers_losses_are_weighed_into_the_loss():
    model = language_model(use_moe=True, n_routed_experts=4, aux_loss_alpha=0.5, router_z_loss_alpha=0.25)
    out = model(IDS, labels=IDS)
    plain = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    torch.testing.assert_close(out.loss, plain + 0.5 * out.aux_loss + 0.25 * out.z_loss)
    count = 2 * 8
    twice = model(IDS, labels=IDS, num_items_in_batch=2 * count)  # half of all the labels are here
    torch.testing.assert_close(twice.loss, out.loss / 2)


def test_dropout_acts_in_training_alone():
    model = language_model(dropout=0.5)
    torch.testing.assert_close(model(IDS).logits, model(IDS).logits)
    model.train()
    assert not torch.allclose(model(IDS).logits, model(IDS).logits)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable:FutureWarning")  # it has a new name as well
def test_gradient_checkpointing_gives_the_same_gradients():
    plain = language_model(dropout=0.1).train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing_enable()
    runs = []
    hook = saving.model.layers[0].mlp.register_forward_hook(lambda *_: runs.append(1))
    for model in (plain, saving):
        torch.manual_seed(3)
        model(IDS, labels=IDS).loss.backward()
    hook.remove()
    assert len(runs) == 2  # forward, and again on the way back
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable:FutureWarning")
def test_checkpointing_that_would_leave_routers_without_gradients_is_refused():
    way = {"gradient_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(ValueError, match="use_reentrant=True would leave the routers' losses without gradients"):
        language_model(use_moe=True).gradient_checkpointing_enable(**way)
    language_model(use_moe=True).gradient_checkpointing_enable()
    language_model().gradient_checkpointing_enable(**way)


CACHES = {
    "dynamic": (lambda config: DynamicCache(config=config), {}),
    "static": (lambda config: StaticCache(config=config, max_cache_len=16), {}),
    "sliding": (lambda config: DynamicCache(config=config), {"sliding_window": 4}),
    "static sliding": (lambda config: StaticCache(config=config, max_cache_len=16), {"sliding_window": 4}),
}


@pytest.mark.parametrize("kind", CACHES)
def test_cached_steps_are_one_pass(kind):
    make, fields = CACHES[kind]
    model = language_model(**fields)
    cache, whole, pieces = make(model.config), model(IDS).logits, []
    with torch.no_grad():
        for piece in (IDS[:, :5], IDS[:, 5:6], IDS[:, 6:7], IDS[:, 7:]):
            pieces.append(model(piece, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_a_cache_comes_back_unless_switched_off(model):
    assert model(IDS).past_key_values.get_seq_length() == 9
    assert model(IDS, use_cache=False).past_key_values is None


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_left_and_right_padding_are_each_row_alone(implementation):
    model = language_model(attn_implementation=implementation)
    rows = [IDS[0].tolist(), IDS[1, :4].tolist()]
    alone = [model(torch.tensor([row])).logits[0] for row in rows]
    left = left_padded(rows)
    right = {name: torch.stack([padded[0], padded[1].roll(4)]) for name, padded in left.items()}
    logits = model(**left).logits
    for index, expected in enumerate(alone):
        torch.testing.assert_close(logits[index, 9 - len(expected) :], expected, rtol=1e-4, atol=1e-4)
    logits = model(**right).logits
    for index, expected in enumerate(alone):
        torch.testing.assert_close(logits[index, : len(expected)], expected, rtol=1e-4, atol=1e-4)


def test_packed_documents_are_each_alone(model):
    for options in ({"use_cache": False}, {}):  # a cache that begins with the call changes nothing
        packed = model(IDS.view(1, 18), position_ids=torch.arange(9).repeat(1, 2), **options).logits
        torch.testing.assert_close(packed.view(2, 9, 64), model(IDS).logits, rtol=1e-4, atol=1e-4)


def test_hidden_states_and_attentions_on_request():
    model = language_model(attn_implementation="eager")
    out = model(IDS, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 3
    torch.testing.assert_close(out.hidden_states[-1] @ model.lm_head.weight.T, out.logits)
    torch.testing.assert_close(out.attentions[1].sum(-1), torch.ones(2, 4, 9))
