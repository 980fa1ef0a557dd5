"""From a conversation's text to ids and back into rows of one length: `ChatEncoder`, `pad`.

Three kinds of text are encoded apart: the template's own (control tokens count), an image (a run of placeholder
ids) and what people typed (bytes and merges only, so it is never a placeholder or a control token). It knows no
pixels and opens no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from sightline.chat import CHAT_TEMPLATE, Turn, segments
from sightline.images import ImageSource
from sightline.tokenizer import AT_TOKEN, END_TOKEN, IMAGE_TOKEN, START_TOKEN

__all__ = [
    "ChatEncoder",
    "Row",
    "Span",
    "batched",
    "check_counts",
    "check_lengths",
    "check_tokenizer",
    "group_images",
    "images_beside",
    "labelled",
    "pad",
    "share_trunk",
]

Span = tuple[int, int]  # start and end, in characters of a rendered string
Row = tuple[list[int], list[int]]  # input ids, and 1 where the assistant wrote the token

IGNORED_LABEL = -100


class ChatEncoder:
    """Encodes rendered strings and turns with `tokenizer`, whose pre-tokenizer is byte-level.

    Raises:
        ValueError: the tokenizer has no token `image_token`, or writes it for typed text as well.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_token: str, num_image_tokens: int) -> None:
        vocab = tokenizer.get_vocab()
        if image_token not in vocab:
            raise ValueError(f"image_token={image_token!r} is no single token of the tokenizer")
        self.image_token = image_token
        self.image_token_id = vocab[image_token]
        self.image_run = [self.image_token_id] * num_image_tokens
        # Of its own: what a caller last asked of the shared one (padding, truncation, spelling) stays with that.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = False
        self._typed_tokenizer = _without_added_tokens(self._tokenizer)
        self._at_id = vocab.get(AT_TOKEN) if image_token == IMAGE_TOKEN else None
        if self._at_id is None and self.image_token_id in self._typed_tokenizer.encode(image_token).ids:
            raise ValueError(f"image_token={image_token!r} is ordinary text, and no other token stands for it")
        self._template_ids: dict[str, list[int]] = {}

    def rendered(self, text: str, spans: list[Span]) -> Row:
        """Encode a rendered string; the mask is 1 where a token lies in one of `spans` (in characters)."""
        ids: list[int] = []
        mask: list[int] = []
        for segment in segments(text, self.image_token):
            if segment.kind == "image":
                ids += self.image_run
                mask += [0] * len(self.image_run)
            elif segment.kind == "typed":
                typed = self.typed(segment.text)
                ids += typed
                mask += [_touches(spans, segment.start, segment.start + 1)] * len(typed)
            else:
                written = self._tokenizer.encode(segment.text, add_special_tokens=False)
                ids += written.ids
                mask += [_touches(spans, segment.start + a, segment.start + b) for a, b in written.offsets]
        return ids, mask

    def turns(self, turns: Iterable[Turn]) -> Row:
        """What `rendered` gives for the default template, without rendering it."""
        ids: list[int] = []
        mask: list[int] = []
        for turn in turns:
            assistant = int(turn.role == "assistant")
            ids += self._template(f"{START_TOKEN}{turn.role}\n")
            mask += [0] * (len(ids) - len(mask))
            for part in turn.parts:
                ids += self._part(part)
                mask += [assistant if part is not None else 0] * (len(ids) - len(mask))
            ids += self._template(f"{END_TOKEN}\n")
            mask += [assistant] + [0] * (len(ids) - len(mask) - 1)
        return ids, mask

    def _part(self, part: str | None) -> list[int]:
        return self.image_run if part is None else self.typed(part)

    def _template(self, text: str) -> list[int]:
        if text not in self._template_ids:
            encoded = self._tokenizer.encode(text, add_special_tokens=False)
            self._template_ids[text] = encoded.ids
        return self._template_ids[text]

    def typed(self, text: str) -> list[int]:
        """Bytes and merges only. No merge contains '@', so to replace its id is to replace the character."""
        ids = self._typed_tokenizer.encode(text, add_special_tokens=False).ids
        if self._at_id is not None and self.image_token_id in ids:
            ids = [self._at_id if token == self.image_token_id else token for token in ids]
        return ids


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, template: str, image_token: str) -> None:
    """Raise ValueError where the tokenizer cannot pad, or the default template's tokens are none of its own."""
    written = {START_TOKEN, END_TOKEN, IMAGE_TOKEN}
    if template == CHAT_TEMPLATE and not (image_token == IMAGE_TOKEN and written <= tokenizer.get_vocab().keys()):
        raise ValueError(
            f"the default chat template writes {', '.join(sorted(written))}, which this tokenizer or image_token is "
            "not for: give a chat_template, or join the parts with `sightline convert build`"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token: set its pad_token")


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same merges and pre-tokenizer, with nothing that is matched before them."""
    plain = Tokenizer(tokenizer.model)
    if tokenizer.normalizer is not None:
        plain.normalizer = tokenizer.normalizer
    if tokenizer.pre_tokenizer is not None:
        plain.pre_tokenizer = tokenizer.pre_tokenizer
    return plain


def _touches(spans: Sequence[Span], start: int, end: int) -> int:
    return int(any(first < end and start < last for first, last in spans))


def batched(conversation: Any) -> tuple[bool, list[Any]]:
    """Whether `conversation` is a list of them, and that list; one alone is a list of one."""
    if isinstance(conversation, (list, tuple)) and conversation and isinstance(conversation[0], (list, tuple)):
        return True, list(conversation)
    return False, [conversation]


def images_beside(images: Sequence[Any] | None, count: int, is_batch: bool) -> list[Any]:
    """The images given beside the messages, a list for each of `count` conversations."""
    if images is None:
        return [None] * count
    if not is_batch:
        return [images if isinstance(images, (list, tuple)) else [images]]
    if len(images) != count:
        raise ValueError(f"{count} conversations, but images for {len(images)}")
    return list(images)


def group_images(images: Any, found: Sequence[int]) -> list[list[ImageSource]]:
    """A list of images for each sample. A flat list is dealt out in reading order, by the runs found."""
    if images is None:
        return [[] for _ in found]
    if not isinstance(images, (list, tuple)):
        images = [images]
    if any(isinstance(row, (list, tuple)) for row in images):
        return [list(row or []) for row in images]
    left = iter(images)
    dealt = [[source for _, source in zip(range(count), left, strict=False)] for count in found[:-1]]
    return [*dealt, list(left)]


def check_counts(found: Sequence[int], sources: Sequence[Sequence[ImageSource]]) -> None:
    """Raise a ValueError naming the first sample that has another number of runs than of images."""
    if len(found) != len(sources):
        raise ValueError(f"{len(found)} texts, but lists of images for {len(sources)}")
    for sample, (runs, given) in enumerate(zip(found, sources, strict=True)):
        if runs != len(given):
            once = "" if runs < len(given) or not given else ": write the placeholder once for each image"
            raise ValueError(f"sample {sample}: found {runs} image runs, but {len(given)} images were given{once}")


def check_lengths(rows: Sequence[Row], max_length: int | None) -> None:
    """Raise a ValueError naming the first of `rows` that is longer than `max_length`: nothing is truncated."""
    for sample, (ids, _) in enumerate(rows):
        if max_length is not None and len(ids) > max_length:
            raise ValueError(f"sample {sample} has {len(ids)} tokens, but max_length={max_length}")


def share_trunk(rows: Sequence[Row]) -> tuple[Row, list[int]]:
    """One row in which the rows' common beginning stands once, and each token's branch (0: the common trunk).

    The trunk ends before the first token of any row that carries loss, and one token earlier still: what
    predicts a supervised token stands in that token's own branch.

    >>> share_trunk([([7, 8, 1, 2], [0, 0, 0, 1]), ([7, 8, 3, 4], [0, 0, 0, 1])])
    (([7, 8, 1, 2, 3, 4], [0, 0, 0, 1, 0, 1]), [0, 0, 1, 1, 2, 2])
    """
    if len(rows) == 1:
        return rows[0], [0] * len(rows[0][0])
    limit = min(mask.index(1) - 1 if 1 in mask else len(mask) for _, mask in rows)
    first = rows[0][0]
    same = (n for n in range(limit) if any(ids[n] != first[n] for ids, _ in rows))
    trunk = next(same, limit)
    joined, marks, branches = first[:trunk], [0] * trunk, [0] * trunk
    for number, (ids, mask) in enumerate(rows, start=1):
        joined = joined + ids[trunk:]
        marks += mask[trunk:]
        branches += [number] * (len(ids) - trunk)
    return (joined, marks), branches


def _round_up(length: int, multiple: int | None) -> int:
    """The least multiple of `multiple` that is not below `length`."""
    return -(-length // multiple) * multiple if multiple else length


def labelled(rows: Sequence[Row], pad_token_id: int, multiple: int | None) -> dict[str, list[list[int]]]:
    """`input_ids`, `attention_mask` and `labels`, padded on the right; the labels are what the assistant wrote."""
    padded = pad(rows, pad_token_id, {"padding_side": "right", "pad_to_multiple_of": multiple})
    labels = [
        [token if written else IGNORED_LABEL for token, written in zip(ids, mask, strict=True)]
        for ids, mask in zip(padded["input_ids"], padded.pop("assistant_masks"), strict=True)
    ]
    return {**padded, "labels": labels}


def pad(rows: Sequence[Row], pad_token_id: int, options: dict[str, Any]) -> dict[str, list[list[int]]]:
    """`input_ids`, `attention_mask` and `assistant_masks` of one length, by transformers' padding options."""
    padding = options.get("padding", True)
    longest = max((len(ids) for ids, _ in rows), default=0)
    if padding == "max_length" and options.get("max_length") is not None:
        longest = options["max_length"]
    length = _round_up(longest, options.get("pad_to_multiple_of"))
    off = padding in (False, None, "do_not_pad")
    left = options.get("padding_side", "left") == "left"

    def filled(values: list[int], filler: int) -> list[int]:
        missing = [] if off else [filler] * (length - len(values))
        return missing + values if left else values + missing

    return {
        "input_ids": [filled(ids, pad_token_id) for ids, _ in rows],
        "attention_mask": [filled([1] * len(ids), 0) for ids, _ in rows],
        "assistant_masks": [filled(mask, 0) for _, mask in rows],
    }
