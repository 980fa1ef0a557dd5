"""What one training or evaluation sample is: the chat format of TRL and transformers, and its pictures.

Every reader and the built-in world produce this and nothing else. It does not know tokens or tensors.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

from PIL import Image

from sightline.data.conversation import ChatRow

__all__ = ["Sample", "answers_of", "questions_of", "sample_from", "sample_of"]


class Sample(TypedDict):
    """A conversation and the pictures that its `{"type": "image"}` parts stand for, in order.

    `messages` is a list of `{"role": "user" | "assistant" | "system", "content": [part, ...]}`, where a part
    is `{"type": "image"}` or `{"type": "text", "text": str}`. A picture may be the path or
    the bytes of a file, or a data URI, for the processor to open.
    """

    messages: list[dict[str, Any]]
    images: Sequence[Image.Image | str | bytes]


def sample_from(
    questions: str | Sequence[str],
    answers: str | Sequence[str],
    images: Sequence[Image.Image] = (),
) -> Sample:
    """A conversation of question and answer turns; all images stand at the start of the first question.

    A list of images is kept, not copied: conversations about one picture may share it.

    Raises:
        ValueError: if there are no questions, or not one answer to each question.
    """
    questions = [questions] if isinstance(questions, str) else list(questions)
    answers = [answers] if isinstance(answers, str) else list(answers)
    if not questions or len(questions) != len(answers):
        raise ValueError(f"a sample needs one answer a question: {len(questions)} questions, {len(answers)} answers")
    messages: list[dict[str, Any]] = []
    for question, answer in zip(questions, answers, strict=True):
        messages.append({"role": "user", "content": [{"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    messages[0]["content"] = [{"type": "image"} for _ in images] + messages[0]["content"]
    return {"messages": messages, "images": images if isinstance(images, list) else list(images)}


def sample_of(row: ChatRow) -> Sample:
    """A row as a sample. One that ends with the user's turn takes the first of its `answers` as the assistant's."""
    messages, answers = row.messages, row.fields.get("answers")
    if messages[-1]["role"] == "user" and isinstance(answers, list) and answers and isinstance(answers[0], str):
        messages = [*messages, {"role": "assistant", "content": [{"type": "text", "text": answers[0]}]}]
    return {"messages": messages, "images": row.images}


def questions_of(sample: Sample) -> list[str]:
    """The text of every user turn."""
    return _texts(sample, "user")


def answers_of(sample: Sample) -> list[str]:
    """The text of every assistant turn."""
    return _texts(sample, "assistant")


def _texts(sample: Sample, role: str) -> list[str]:
    turns = [message["content"] for message in sample["messages"] if message["role"] == role]
    return ["".join(part["text"] for part in turn if part["type"] == "text") for turn in turns]
