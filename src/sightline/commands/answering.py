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


def stream_answer(
    model: Any,
    processor: Any,
    messages: list[dict[str, Any]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Generate the assistant's next turn, giving every finished piece of text to `on_text`.

    Raises:
        ValueError: the messages or their images are wrong, or the prompt is too long for the model.
    """
    import torch

    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    ).to(model.device)
    if seed is not None:
        torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    answer = Answer(prompt_tokens=inputs["input_ids"].shape[1])
    answer.image_tokens = int((inputs["input_ids"] == model.config.image_token_id).sum())
    started = time.perf_counter()
    streamer, result = _generate_beside(model, processor, inputs, max_new_tokens, sampling)
    for piece in streamer:
        answer.time_to_first_token = answer.time_to_first_token or time.perf_counter() - started
        answer.text += piece
        on_text(piece)
    new = result()[0, answer.prompt_tokens :]
    return _account(answer, new, model, time.perf_counter() - started)


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
