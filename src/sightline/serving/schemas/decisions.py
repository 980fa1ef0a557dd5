"""`POST /v1/decisions` and `POST /v1/score`: questions with given answers, and how probable each answer is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, Tag
from pydantic_core import PydanticCustomError

from sightline.serving.schemas.base import Answer, Body, Request, Unsupported, by
from sightline.serving.schemas.chat import Message
from sightline.serving.schemas.items import (
    BY_ROLE,
    AssistantItem,
    InputImage,
    InputText,
    ItemFields,
    SystemItem,
    listed,
)
from sightline.serving.schemas.responses import ResponseUsage

__all__ = [
    "ChoiceAnswer",
    "ChoiceProbability",
    "ChoiceQuestion",
    "Decision",
    "DecisionRequest",
    "EvidenceItem",
    "InputJson",
    "LevelProbability",
    "PredicateAnswer",
    "PredicateQuestion",
    "Question",
    "QuestionChoice",
    "ScoreAnswer",
    "ScoreLevel",
    "ScoreQuestion",
    "ScoreRequest",
    "ScoreResult",
    "ScoredChoice",
]


class InputJson(Body):
    """JSON, which the model reads as text."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


_Part = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[InputImage, Tag("<input_image>")]
    | Annotated[InputJson, Tag("<input_json>")],
    by("type", "input_text", "input_image", "input_json"),
]
_Plain = Annotated[list[_Part], Field(min_length=1)]
_Parts = Annotated[_Plain, listed("input_text", _Plain)]


class EvidenceItem(ItemFields):
    """What a person says and shows."""

    role: Literal["user"]
    content: _Parts


_Item = Annotated[
    Annotated[SystemItem, Tag("<system>")]
    | Annotated[SystemItem, Tag("<developer>")]
    | Annotated[EvidenceItem, Tag("<user>")]
    | Annotated[AssistantItem, Tag("<assistant>")],
    BY_ROLE,
]
_Items = Annotated[list[_Item], Field(min_length=1)]


def _items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class _Asked(Body):
    instructions: _Parts = Field(description="The question; the model is asked it as it stands.")
    name: str | None = None


class PredicateQuestion(_Asked):
    """How likely the model is to say yes."""

    type: Literal["predicate"]


def _check_value(value: Any) -> Any:
    """Before the union looks at it, whose errors would tell of each member."""
    if not isinstance(value, str | bool) or value == "":
        raise PydanticCustomError("kind", "it has to be a text, or true or false")
    return value


_Text = Annotated[StrictStr, Field(min_length=1)]
_Value = Annotated[_Text | StrictBool, BeforeValidator(_check_value, json_schema_input_type=_Text | StrictBool)]


class QuestionChoice(Body):
    """An answer: a text, or true for yes and false for no. A description of any is shown to the model beside it."""

    value: _Value
    description: str | None = None


class ChoiceQuestion(_Asked):
    """Which of these the model answers."""

    type: Literal["choice"]
    choices: list[QuestionChoice] = Field(min_length=2)


class ScoreLevel(Body):
    """A step of a scale. A description of any is shown to the model beside it."""

    label: _Text
    description: str | None = None


class ScoreQuestion(_Asked):
    """Which step of a scale, given in order, the model answers."""

    type: Literal["score"]
    levels: list[ScoreLevel] = Field(min_length=2)


Question = Annotated[
    Annotated[PredicateQuestion, Tag("<predicate>")]
    | Annotated[ChoiceQuestion, Tag("<choice>")]
    | Annotated[ScoreQuestion, Tag("<score>")],
    by("type", "predicate", "choice", "score"),
]


class DecisionRequest(Request):
    """Questions about one input, each asked alone, after it."""

    input: Annotated[_Items, BeforeValidator(_items, json_schema_input_type=str | _Items)]
    questions: list[Question] = Field(min_length=1)
    prompt_cache_options: Unsupported = None


class PredicateAnswer(Answer):
    """`probability` of yes, of all that the model says for yes or no."""

    type: Literal["predicate"] = "predicate"
    name: str | None
    probability: float


class ChoiceProbability(Answer):
    """Of one choice, among the choices."""

    value: StrictStr | StrictBool
    probability: float


class ChoiceAnswer(Answer):
    """The likeliest choice; `confidence` is its probability."""

    type: Literal["choice"] = "choice"
    name: str | None
    choice: StrictStr | StrictBool
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(Answer):
    """Of one level, among the levels; `value` counts them from 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(Answer):
    """The mean of the levels' values, each as probable as it is; `confidence` is the likeliest one's probability."""

    type: Literal["score"] = "score"
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class Decision(Answer):
    """The answers, in the order of the questions. `output_tokens` are those of the given answers."""

    model: str
    answers: list[Annotated[PredicateAnswer | ChoiceAnswer | ScoreAnswer, Field(discriminator="type")]]
    usage: ResponseUsage


class ScoreRequest(Request):
    """A conversation, and answers to it. Each is graded as the whole answer, exactly as it is written."""

    messages: list[Message] = Field(min_length=1)
    choices: list[_Text] = Field(min_length=1)


class ScoredChoice(Answer):
    """`logprob` of a choice as the whole answer (its natural logarithm), and its `probability` among the choices."""

    index: int
    text: str
    logprob: float
    probability: float


class ScoreResult(Answer):
    """The choices in the order given. `output_tokens` are their own."""

    object: Literal["score"] = "score"
    model: str
    choices: list[ScoredChoice]
    usage: ResponseUsage
