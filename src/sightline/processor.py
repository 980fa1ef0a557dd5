"""From messages and images to tensors, and from ids back to text: `VLMProcessor`.

It joins three that know nothing of each other: `chat.py` (the format), `encoding.py` (ids) and `images.py` (files),
behind the interface of transformers' processors. It knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerFast
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, TextKwargs

from sightline import chat
from sightline.chat import CHAT_TEMPLATE, Conversation
from sightline.config import VLMConfig
from sightline.encoding import (
    ChatEncoder,
    Row,
    Span,
    batched,
    check_counts,
    check_lengths,
    check_tokenizer,
    group_images,
    images_beside,
    labelled,
    pad,
    share_trunk,
)
from sightline.image_processing import default_image_processor
from sightline.images import ImageSource, load_rgb
from sightline.rendering import render
from sightline.tokenizer import IMAGE_TOKEN

__all__ = ["VLMProcessor"]

Messages = Sequence[dict[str, Any]]
MAX_IMAGE_TOKENS = 2**20
PADDING_BRANCH = -1  # or padding would lengthen the trunk
_CALL_OPTIONS = frozenset(TextKwargs.__annotations__) | {"text_kwargs", "images_kwargs", "common_kwargs"}


class VLMProcessorKwargs(ProcessingKwargs, total=False):
    """Padding to the longest on the left, so that generation goes on from the last position of each row."""

    _defaults = {"text_kwargs": {"padding": True, "padding_side": "left"}}  # type: ignore[misc]


class VLMProcessor(ProcessorMixin):
    """Tokenizer, image processor and chat template in one.

    `image_token` stands once for each image in rendered text, and is expanded to `num_image_tokens` ids.

    Raises:
        ValueError: the tokenizer has no such token, writes it for typed text as well, cannot pad or is not the default
            template's where no other is given; `num_image_tokens` is no number of patches.
    """

    valid_processor_kwargs = VLMProcessorKwargs

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
        image_token: str = IMAGE_TOKEN,
        num_image_tokens: int = 196,
    ) -> None:
        if not 0 < num_image_tokens <= MAX_IMAGE_TOKENS:
            raise ValueError(f"num_image_tokens={num_image_tokens} is not between 1 and {MAX_IMAGE_TOKENS}")
        self.image_token = image_token
        self.num_image_tokens = num_image_tokens
        self._encoder = ChatEncoder(tokenizer, image_token, num_image_tokens)
        self.image_token_id = self._encoder.image_token_id
        template = chat_template or tokenizer.chat_template or CHAT_TEMPLATE
        check_tokenizer(tokenizer, template, image_token)
        super().__init__(image_processor, tokenizer, chat_template=template)

    @classmethod
    def from_config(cls, config: VLMConfig, tokenizer: PreTrainedTokenizerFast) -> VLMProcessor:
        """The processor that fits `config`: its placeholder, and pictures as `default_image_processor` prepares them.

        Raises:
            ValueError: the tokenizer is larger than the vocabulary, or gives the placeholder another id.
        """
        if len(tokenizer) > config.vocab_size:
            raise ValueError(f"the tokenizer has {len(tokenizer)} ids, but vocab_size={config.vocab_size}")
        token = config.image_token
        processor = cls(
            default_image_processor(config),
            tokenizer,
            image_token=token,
            num_image_tokens=config.num_image_tokens,
        )
        if processor.image_token_id != config.image_token_id:
            raise ValueError(
                f"the tokenizer gives {token!r} the id {processor.image_token_id}, "
                f"but image_ids repeats {config.image_token_id}"
            )
        return processor

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource] | Sequence[Sequence[ImageSource]] | None = None,
        text: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode text in which `image_token` stands once for each image, as `apply_chat_template` renders it.

        `images` is a list for each text, or one list for all of them in reading order. Text that carries no
        marks of `apply_chat_template` is the template's: control tokens in it count. Nothing is ever truncated.

        Returns:
            `input_ids` and `attention_mask` int64 [batch, seq], padded on the left;
            `pixel_values` float32 [images, 3, height, width] in reading order, absent without images.

        Raises:
            ValueError: a sample has another number of placeholders than images, or is longer than `max_length`.
        """
        if text is None and images is None:
            raise ValueError("give text, images or both")
        options = self._options(kwargs)
        if text is None:
            data = {"pixel_values": self._pixel_values(group_images(images, [0]), options["images_kwargs"])}
            return BatchFeature(data, tensor_type=options["images_kwargs"].get("return_tensors"))
        rendered = [text] if isinstance(text, str) else list(text)
        return self._encode_batch(rendered, images, options)

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Messages | Sequence[Messages],
        chat_template: str | None = None,
        tools: list[dict] | None = None,
        documents: list[dict[str, str]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: str | None = None,
        return_dict: bool = False,
        processor_kwargs: dict[str, Any] | None = None,
        sanitize_control_tokens: bool = True,
        images: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Render one conversation or a list of them and, with `tokenize`, encode them.

        Images stand in the messages (`{"type": "image", "image": path | PIL | bytes | data URI}`), or `images`
        gives those of the bare `{"type": "image"}` parts: a list, or a list for each conversation. Of a message
        only role and content are rendered. Without `tokenize` the result is the string, or list of strings, that
        `__call__` takes: typed text is marked in it by noncharacters, which `sanitize_control_tokens=False`
        leaves out at the price that typed control tokens count. Options of `__call__` come in `processor_kwargs`
        or directly; the other keywords are the template's variables.

        Returns:
            as `__call__`, and `assistant_masks` int64 [batch, seq] if asked for; only `input_ids` unless
            `return_dict`; the rendered text unless `tokenize`.

        Raises:
            ValueError: as `__call__` and `read_conversation`.
        """
        if return_assistant_tokens_mask and not (tokenize and return_dict):
            raise ValueError("return_assistant_tokens_mask=True requires tokenize=True and return_dict=True")
        if continue_final_message and (add_generation_prompt or return_assistant_tokens_mask):
            raise ValueError("continue_final_message excludes add_generation_prompt and return_assistant_tokens_mask")
        call = {name: value for name, value in kwargs.items() if name in _CALL_OPTIONS} | (processor_kwargs or {})
        images = call.pop("images", images)
        is_batch, conversations = batched(conversation)
        beside = images_beside(images, len(conversations), is_batch)
        read = [
            chat.read_conversation(messages, its_images, n, images_follow=not tokenize)
            for n, (messages, its_images) in enumerate(zip(conversations, beside, strict=True))
        ]
        rendered, spans = self._render(
            conversations,
            read,
            sanitize_control_tokens,
            chat_template=self._resolve_chat_template(chat_template),
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            **{name: value for name, value in kwargs.items() if name not in _CALL_OPTIONS},
        )
        if not tokenize:
            return rendered if is_batch else rendered[0]
        if return_tensors not in (None, "auto"):
            call["return_tensors"] = return_tensors
        options = self._options(call)
        sources = [list(one.images) for one in read]
        batch = self._encode_batch(rendered, sources, options, spans if return_assistant_tokens_mask else None)
        return batch if return_dict else batch["input_ids"]

    def encode_prompt(self, messages: Messages) -> tuple[list[int], list[Image.Image]]:
        """One conversation's ids, ready for its next answer, and its pictures in RGB, which are not prepared yet.

        The ids are `apply_chat_template`'s, with the generation prompt.

        Raises:
            ValueError: as `apply_chat_template`.
        """
        read = chat.read_conversation(messages)
        template = self._resolve_chat_template(None)
        (text,), _ = self._render([messages], [read], True, chat_template=template, add_generation_prompt=True)
        check_counts([sum(segment.kind == "image" for segment in chat.segments(text, self.image_token))], [read.images])
        ids, _ = self._encoder.rendered(text, [])
        return ids, [load_rgb(one, f"sample 0, image {index}") for index, one in enumerate(read.images)]

    def encode_text(self, text: str) -> list[int]:
        """The ids of what a person or the assistant writes: never a placeholder or a control token."""
        return self._encoder.typed(text)

    def encode_for_training(
        self,
        samples: Iterable[tuple[Messages, Sequence[ImageSource] | None]],
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> dict[str, Tensor]:
        """Encode (messages, images) pairs as `apply_chat_template` does, with labels and right padding.

        Returns:
            `input_ids`, `attention_mask` and `labels` int64 [batch, seq], where labels are -100 outside what the
            assistant writes (its text and the `<|im_end|>` after it); `pixel_values` as in `__call__`.

        Raises:
            ValueError: as `apply_chat_template`.
        """
        pairs = [(messages, images) for messages, images in samples]
        rows, sources = self.encode_rows(pairs, max_length)
        return self._training_batch(rows, sources, pad_to_multiple_of)

    def encode_groups_for_training(
        self,
        groups: Iterable[Sequence[tuple[Messages, Sequence[ImageSource] | None]]],
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> dict[str, Tensor]:
        """As `encode_for_training`, with one row for each group of conversations about the same pictures.

        What the conversations of a group have in common at their start, pictures above all, stands once in the
        row; each goes on from there as a branch of its own. The loss is that of the conversations one by one.

        Returns:
            as `encode_for_training`, and `branch_ids` int64 [groups, seq] (-1: padding) where a group has several
            conversations.

        Raises:
            ValueError: as `apply_chat_template`, or the conversations of a group have other pictures.
        """
        rows, sources, branches = [], [], []
        for number, group in enumerate(groups):
            alone, images = self.encode_rows(group, max_length)
            if any(other != images[0] for other in images[1:]):
                raise ValueError(f"group {number}: its conversations are about different pictures")
            row, branch = share_trunk(alone)
            # A conversation that shares no picture run with the others would need the picture again.
            if row[0].count(self.image_token_id) != alone[0][0].count(self.image_token_id):
                raise ValueError(f"group {number}: its pictures do not stand where all its conversations begin")
            rows.append(row)
            branches.append(branch)
            sources.append(images[0])
        batch = self._training_batch(rows, sources, pad_to_multiple_of)
        if any(branch[-1] for branch in branches if branch):
            batch["branch_ids"] = torch.full_like(batch["labels"], PADDING_BRANCH)
            for index, branch in enumerate(branches):
                batch["branch_ids"][index, : len(branch)] = torch.tensor(branch)
        return batch

    def encode_rows(
        self, pairs: Sequence[tuple[Messages, Sequence[ImageSource] | None]], max_length: int | None = None
    ) -> tuple[list[Row], list[list[ImageSource]]]:
        """Each conversation's ids with 1 where the assistant wrote the token, and its pictures, unopened.

        Raises:
            ValueError: as `apply_chat_template`.
        """
        read = [chat.read_conversation(messages, images, n) for n, (messages, images) in enumerate(pairs)]
        if self.chat_template == CHAT_TEMPLATE:
            rows = [self._encoder.turns(one.turns) for one in read]
        else:
            rows = self._encode_by_template([messages for messages, _ in pairs], read)
        check_lengths(rows, max_length)
        return rows, [list(one.images) for one in read]

    def _training_batch(
        self, rows: Sequence[Row], sources: list[list[ImageSource]], pad_to_multiple_of: int | None
    ) -> dict[str, Tensor]:
        padded = labelled(rows, self.tokenizer.pad_token_id, pad_to_multiple_of)
        batch = {name: torch.tensor(values, dtype=torch.long) for name, values in padded.items()}
        if any(sources):
            batch["pixel_values"] = self._pixel_values(sources, {})
        return batch

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        """The text of `token_ids` (a list of texts for rows of ids); `skip_special_tokens` drops images too."""
        ids = _plain(token_ids)
        if skip_special_tokens:
            ids = self._without_images(ids)
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **kwargs)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """`decode` of each of `sequences`."""
        return [self.decode(ids, skip_special_tokens, **kwargs) for ids in sequences]

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """`batch_decode` under the name that transformers' pipeline calls."""
        return self.batch_decode(generated_outputs, skip_special_tokens, **kwargs)

    def _options(self, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The options of a call by modality, as transformers merges them with the defaults.

        Without those that a language model's tokenizer was saved with: they may pad on the right, or be of its time
        before it saw pictures.
        """
        return self._merge_kwargs(self.valid_processor_kwargs, {}, **given)  # type: ignore[arg-type]

    def _without_images(self, ids: Any) -> Any:
        if isinstance(ids, int):
            return [] if ids == self.image_token_id else [ids]
        if len(ids) and not isinstance(ids[0], int):
            return [self._without_images(row) for row in ids]
        return [token for token in ids if token != self.image_token_id]

    def _render(
        self,
        conversations: Sequence[Messages],
        read: Sequence[Conversation],
        sanitize: bool,
        chat_template: str,
        tools: Any = None,
        documents: Any = None,
        **variables: Any,
    ) -> tuple[list[str], list[list[Span]]]:
        """The rendered strings and, if asked for, the character spans that the assistant wrote."""
        token = self.image_token if sanitize else None
        rendered, spans = render(
            [chat.template_messages(m, one, token) for m, one in zip(conversations, read, strict=True)],
            chat_template,
            tools=chat.mark_values(tools, token) if token else tools,
            documents=chat.mark_values(documents, token) if token else documents,
            **{**self.tokenizer.special_tokens_map, **variables},
        )
        if sanitize and any(map(chat.is_torn, rendered)):
            raise ValueError("the chat template takes the text of messages apart, so it cannot be kept data")
        return rendered, spans

    def _encode_batch(
        self,
        rendered: list[str],
        images: Any,
        options: dict[str, dict[str, Any]],
        spans: list[list[Span]] | None = None,
    ) -> BatchFeature:
        rows = [self._encoder.rendered(text, spans[n] if spans else []) for n, text in enumerate(rendered)]
        found = [sum(segment.kind == "image" for segment in chat.segments(text, self.image_token)) for text in rendered]
        sources = group_images(images, found)
        check_counts(found, sources)
        text_options = options["text_kwargs"]
        if text_options.get("truncation"):
            raise ValueError("truncation would cut images and answers: give max_length to be told what is too long")
        check_lengths(rows, text_options.get("max_length"))
        data: dict[str, Any] = pad(rows, self.tokenizer.pad_token_id, text_options)
        if not spans:
            del data["assistant_masks"]
        if any(sources):
            data["pixel_values"] = self._pixel_values(sources, options["images_kwargs"])
        return BatchFeature(data, tensor_type=text_options.get("return_tensors"))

    def _encode_by_template(self, conversations: list[Messages], read: list[Conversation]) -> list[Row]:
        template = self._resolve_chat_template(None)
        if not re.search(r"\{%[-+]?\s*generation\b", template):
            raise ValueError(
                "the processor's chat_template has no {% generation %} block, so nothing tells what the assistant "
                "writes: put one around its text"
            )
        rendered, spans = self._render(
            conversations, read, True, chat_template=template, return_assistant_tokens_mask=True
        )
        return [self._encoder.rendered(text, spans[n]) for n, text in enumerate(rendered)]

    def _pixel_values(self, sources: list[list[ImageSource]], options: dict[str, Any]) -> Tensor:
        found = [load_rgb(one, f"sample {n}, image {i}") for n, its in enumerate(sources) for i, one in enumerate(its)]
        return self.image_processor(found, **{**options, "return_tensors": "pt"})["pixel_values"]


def _plain(ids: Any) -> Any:
    """An id, or ids in lists, as Python's own: they may be tensors, arrays, or lists of their members."""
    if hasattr(ids, "tolist"):
        return ids.tolist()
    return [_plain(one) for one in ids] if isinstance(ids, list | tuple) else ids
