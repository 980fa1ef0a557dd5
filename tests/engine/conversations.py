"""Conversations of every make, and what transformers answers to them one at a time."""

from PIL import Image

NEW = 12


def pictures(*colours):
    return [{"type": "image", "image": Image.new("RGB", (20, 20 + 5 * len(colour)), colour)} for colour in colours]


def ask(text, *colours):
    return [{"role": "user", "content": [*pictures(*colours), {"type": "text", "text": text}]}]


def dialogue(*colours):
    first = ask("What is this?", *colours)
    return [*first, {"role": "assistant", "content": "A duck."}, {"role": "user", "content": "How many ducks?"}]


CONVERSATIONS = [
    ask("What is this?"),
    ask("What is this?", "red"),
    ask("How many?", "red", "blue"),
    dialogue("green"),
    ask("左上角有什么？", "green"),
    dialogue(),
    ask("A", "black"),
    ask("What is this? " * 4, "red"),
]


def plain(loaded, messages, max_new_tokens=NEW, **options):
    """One request at a time, by transformers."""
    model, processor = loaded
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, **options)
    return tuple(tokens[0, inputs["input_ids"].shape[1] :].tolist())
