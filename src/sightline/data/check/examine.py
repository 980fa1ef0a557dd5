"""One row under the glass: `Examiner`. It opens the row's pictures, counts its tokens, and says what is wrong.

What rows have to do with each other is `repeats.py`'s.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from sightline.data.carrying import Carried, carried_words
from sightline.data.check.problems import Limits, Problem
from sightline.data.conversation import IMAGE_TAG, ChatRow, MissingPicture, RowError
from sightline.data.encoder import Encoder, Size, answer_cut_at, size_of
from sightline.data.pictures import Look, look_at
from sightline.data.readers.splits import keys_of
from sightline.data.sample import Sample, answers_of, questions_of, sample_of

__all__ = ["Examined", "Examiner"]

_CUT = "\ufffd"  # what a piece of a character decodes to, and what a wrong encoding leaves behind
FEW = 4  # tokens; of shorter answers no share is taken


@dataclass(frozen=True)
class Examined:
    """What was found of one row.

    `keys` are those of its pictures, or its text; `identity` and `question` are digests of all of it, and of all but
    its last answer. All three are empty where a picture could not be opened. `pieces` counts the tokens of its answers
    that are only pieces of characters, and `carried` all of its words.
    """

    where: str
    problems: list[Problem]
    looks: list[Look]
    keys: list[bytes]
    identity: bytes = b""
    question: bytes = b""
    size: Size | None = None
    pieces: int = 0
    carried: Carried = field(default_factory=Carried)


class Examiner:
    """Examines rows by `limits`, with the tokens of `encoder`."""

    def __init__(self, encoder: Encoder, limits: Limits):
        self.encoder, self.limits = encoder, limits
        self._is_piece: dict[int, bool] = {}

    def __call__(self, attempt: tuple[str, ChatRow | RowError | MissingPicture]) -> Examined:
        where, row = attempt
        if isinstance(row, Exception):
            text = str(row).removeprefix(where).lstrip(":, ")
            return Examined(where, [Problem(row.kind, text)], [], [])
        sample = sample_of(row)
        problems = [*_order(sample), *_texts(sample)]
        looks = []
        for number, source in enumerate(row.images, start=1):
            try:
                looks.append(look_at(source))
            except (ValueError, FileNotFoundError) as error:
                problems.append(Problem("unreadable picture", f"picture {number}: {error}"))
        problems += self._looks(looks)
        size = self._size(sample, problems)
        pieces = self._carried(sample, problems)
        carried = carried_words(sample, self.encoder)
        if len(looks) < len(row.images):
            return Examined(where, problems, looks, [], size=size, pieces=pieces, carried=carried)
        keys = keys_of(row, [look.key for look in looks])
        identity, question = _digests(sample, keys if looks else [])
        return Examined(where, problems, looks, keys, identity, question, size, pieces, carried)

    def _looks(self, looks: list[Look]) -> Iterator[Problem]:
        for number, look in enumerate(looks, start=1):
            short, long = sorted((look.width, look.height))
            size = f"picture {number} is {look.width} x {look.height} pixels"
            if short < self.limits.side:
                yield Problem("tiny picture", f"{size}: its shorter side has fewer than {self.limits.side}")
            elif long > self.limits.aspect * short:
                yield Problem(
                    "narrow picture", f"{size}: {long / short:.0f} times as long as short; crop it or cut it up"
                )
            if look.span < self.limits.span:
                yield Problem(
                    "flat picture",
                    f"picture {number} is nearly one colour: its values span {look.span} of 255; see whether it was "
                    "saved with the depth that it has",
                )

    def _size(self, sample: Sample, problems: list[Problem]) -> Size | None:
        try:
            size = size_of(sample, self.encoder)
        except ValueError as error:
            problems.append(Problem("wrong format", str(error).removeprefix("sample 0: ").removeprefix("sample 0, ")))
            return None
        limit, longest = self.limits.tokens, max(size.answers, default=0)
        if limit is not None and size.tokens > limit:
            problems.append(
                Problem(
                    "too long",
                    f"it has {size.tokens} tokens, and the model reads {limit}: cut there it would lose "
                    f"{answer_cut_at(size, limit)} of {size.supervised} that carry loss; shorten it",
                )
            )
        elif self.limits.answer_tokens is not None and longest > self.limits.answer_tokens:
            problems.append(
                Problem("long answer", f"an answer has {longest} tokens, more than {self.limits.answer_tokens}")
            )
        return size

    def _carried(self, sample: Sample, problems: list[Problem]) -> int:
        """Whether answers come back from their tokens; how many tokens are pieces of characters."""
        total = 0
        for text in answers_of(sample):
            try:
                ids = self.encoder.encode_text(text)
            except (ValueError, UnicodeError):
                continue  # which its size has said already
            back = self.encoder.decode(ids, clean_up_tokenization_spaces=False)
            pieces = sum(map(self._piece, ids))
            total += pieces
            if unicodedata.normalize("NFC", back) != unicodedata.normalize("NFC", text):
                problems.append(
                    Problem("not carried", f"the tokenizer makes {_short(back)} of the answer {_short(text)}")
                )
            elif len(ids) >= FEW and pieces > self.limits.bytes_share * len(ids):
                problems.append(
                    Problem(
                        "poorly carried",
                        f"the tokenizer spells {_short(text)} out: {pieces} of {len(ids)} tokens are only pieces of "
                        "characters",
                    )
                )
        return total

    def _piece(self, token: int) -> bool:
        if token not in self._is_piece:
            self._is_piece[token] = _CUT in self.encoder.decode([token])
        return self._is_piece[token]


def _order(sample: Sample) -> Iterator[Problem]:
    """Whether turns follow each other as they should: a system's, perhaps, then the user's and the assistant's."""
    roles = [message["role"] for message in sample["messages"]]
    turns = roles[1:] if roles[0] == "system" else roles
    if "assistant" not in turns:
        yield Problem("empty answer", "the assistant says nothing in it: give it an answer")
        return
    for number, role in enumerate(turns):
        due = ("user", "assistant")[number % 2]
        if role != due:
            place = number + len(roles) - len(turns) + 1
            yield Problem("role order", f"its message {place} is the {role}'s, where the {due}'s is due")
            return
    if turns[-1] != "assistant":
        yield Problem("role order", "it ends with the user's message, to which there is no answer")


def _texts(sample: Sample) -> Iterator[Problem]:
    answers, questions = answers_of(sample), questions_of(sample)
    if not all(text.strip() for text in answers):
        yield Problem("empty answer", "an answer in it is empty")
    if not sample["images"] and not all(text.strip() for text in questions):
        yield Problem("empty question", "a question in it is empty, and it has no picture")
    for text in (*answers, *questions):
        if _CUT in text or "\0" in text:
            yield Problem("broken text", f"{_short(text)} was saved or read in a wrong encoding")
            break
    if any(IMAGE_TAG in text for text in (*answers, *questions)):
        yield Problem("tag as text", f"{IMAGE_TAG} stands in it as text, for no picture")


def _digests(sample: Sample, pictures: list[bytes]) -> tuple[bytes, bytes]:
    """Of all of a sample, and of all but its last answer."""
    digest = hashlib.blake2b(b"".join(pictures), digest_size=16)
    *before, last = sample["messages"]
    for message in before:
        digest.update(repr(message).encode())
    question = digest.digest()
    digest.update(repr(last).encode())
    return digest.digest(), question


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
