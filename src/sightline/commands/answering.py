"""Stream one answer to the terminal: what `ask` and `chat` share.

It knows messages and text. How tokens come about is `model.generate`'s business.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Answer:
    """One answer and what it took. Times in seconds; the first token's counts from the prepared prompt."""

    text: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    time_to_first_token: float = 0.0
    seconds: float = 0.0
    tokens_per_second: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def stats(self) -> str:
        return (
            f"{self.prompt_tokens} prompt tokens ({self.image_tokens} of images), "
            f"first token after {self.time_to_first_token:.2f} s, "
            f"{self.completion_tokens} tokens at {self.tokens_per_second:.0f} tokens/s"
        )


class Memory:
    """The KV cache of a conversation, so that a turn computes only what is new in it."""

    def __init__(self, model: Any):
        from transformers import DynamicCache

        self.cache = DynamicCache(config=model.config)
        self.ids: list[int] = []
        self.pixel_values: Any = None

    def keep_what_fits(self, inputs: Any) -> None:
        """Cut the cache to what it has in common with the new prompt, of which one token must stay to be computed.

        An answer that is read back may be other tokens than were generated; everything behind is then new.
        Placeholders are alike whatever they stand for, so the pictures are compared too.
        """
        ids, same = inputs["input_ids"][0].tolist(), 0
        if self._has_the_pictures_of(inputs.get("pixel_values")):
            while same < min(len(ids) - 1, len(self.ids)) and ids[same] == self.ids[same]:
                same += 1
        if surplus := self.cache.get_seq_length() - same:
            self.cache.crop(-surplus)
        self.ids = self.ids[:same]
        self.pixel_values = inputs.get("pixel_values")

    def _has_the_pictures_of(self, pixel_values: Any) -> bool:
        if self.pixel_values is None:
            return True
        count = len(self.pixel_values)
        return pixel_values is not None and len(pixel_values) >= count and self.pixel_values.equal(pixel_values[:count])


def stream_answer(
    model: Any,
    processor: Any,
    messages: list[dict[str, Any]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    memory: Memory | None = None,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Generate the assistant's next turn, giving every finished piece of text to `on_text`.

    With `memory`, what an earlier turn of the same conversation has computed is not computed again.

    Raises:
        ValueError: the messages or their images are wrong, or the prompt is too long for the model.
    """
    import torch

    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    ).to(model.device)
    if seed is not None:
        torch.manual_seed(seed)
    sampling: dict[str, Any] = {"do_sample": bool(temperature)}
    if temperature:
        sampling["temperature"] = temperature
    if memory is not None:
        memory.keep_what_fits(inputs)
        sampling |= {"past_key_values": memory.cache}
    answer = Answer(prompt_tokens=inputs["input_ids"].shape[1])
    answer.image_tokens = int((inputs["input_ids"] == model.config.image_token_id).sum())
    started = time.perf_counter()
    streamer, result = _generate_beside(model, processor, inputs, max_new_tokens, sampling)
    for piece in streamer:
        answer.time_to_first_token = answer.time_to_first_token or time.perf_counter() - started
        answer.text += piece
        on_text(piece)
    tokens = result()[0]
    if memory is not None:
        memory.ids = tokens[: memory.cache.get_seq_length()].tolist()
    return _account(answer, tokens[answer.prompt_tokens :], model, time.perf_counter() - started)


def _account(answer: Answer, new: Any, model: Any, seconds: float) -> Answer:
    answer.seconds = seconds
    answer.completion_tokens = len(new)
    decoding = seconds - answer.time_to_first_token
    answer.tokens_per_second = (len(new) - 1) / decoding if len(new) > 1 and decoding > 0 else 0.0
    end = model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    answer.finish_reason = "stop" if len(new) and int(new[-1]) in ends else "length"
    return answer


def _generate_beside(
    model: Any, processor: Any, inputs: Any, max_new_tokens: int, sampling: dict[str, Any]
) -> tuple[Iterator[str], Callable[[], Any]]:
    """`generate` in a thread, its text as an iterator, and a function that waits for its tokens (or its error)."""
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["tokens"] = model.generate(**inputs, streamer=streamer, max_new_tokens=max_new_tokens, **sampling)
        except BaseException as error:
            outcome["error"] = error
            streamer.end()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["tokens"]

    return streamer, result
