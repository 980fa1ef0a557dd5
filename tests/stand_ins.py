"""Small pretrained parts, made on the spot: a tokenizer, a language model, a tower."""

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 80}
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWER |= {"image_size": 16, "patch_size": 4}
TEXT = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SYSTEM = "{{ '<|im_start|>system\n' + 'Be brief.<|im_end|>\n' }}"
TURN = "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATE = f"{SYSTEM}{{% for message in messages %}}{TURN}{{% endfor %}}{ASK}"
WORDS = ["a cat sits on a mat", "the dog is below the cat", "How many cats are there? two"] * 4


def save_tokenizer(folder, chat=True):
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", *(["<|im_start|>", "<|im_end|>"] if chat else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(WORDS, trainer)
    end = "<|im_end|>" if chat else "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, pad_token=end if chat else None)
    tokenizer.chat_template = TEMPLATE if chat else None
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_language(folder, config_class, chat=True, spare=0, **fields):
    tokenizer = save_tokenizer(folder, chat)
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(tokenizer) + spare, **fields}
    config = config_class(**sizes, eos_token_id=tokenizer.eos_token_id)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def save_tower(folder, model, processor):
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_llava(folder):
    """A Llava checkpoint with random weights, 32-pixel images and 16 image tokens; its processor."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from sightline.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(["What is this? A duck."] * 4, 300)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=8, **sizes),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **sizes),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(
            "{% for message in messages %}{% if message.role == 'assistant' %}{% generation %}"
            "{{ message.content }}{{ eos_token }}{% endgeneration %}{% else %}{% for part in message.content %}"
            "{% if part.type == 'image' %}<image>{% else %}{{ greeting }}{{ part.text }}{% endif %}{% endfor %}"
            "{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
        ),
    )
    processor.save_pretrained(folder)
    return processor
