"""`POST /v1/decisions` and `POST /v1/score`: how probable given answers are, to questions or in a conversation.

How a question becomes texts to grade, and grades an answer, is `deciding.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from sightline.engine.request import Usage as Counts
from sightline.engine.scoring import Graded
from sightline.serving import deciding
from sightline.serving.answering import Place, unless_gone
from sightline.serving.bodies import StrictRoute
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.item_turns import parts_of, turns_of
from sightline.serving.logprobs import clamped
from sightline.serving.messages import Turn, about, check_turns, open_turns, read_turns
from sightline.serving.response_events import response_usage
from sightline.serving.schemas.decisions import (
    ChoiceQuestion,
    Decision,
    DecisionRequest,
    Question,
    ScoredChoice,
    ScoreQuestion,
    ScoreRequest,
    ScoreResult,
)
from sightline.serving.security import Identity, identity
from sightline.serving.settings import Limits
from sightline.serving.state import State
from sightline.serving.usage import check_model

__all__ = ["router"]

_STATUSES = (404, 408, 413, 415, 429, 503)
_ANSWERS = 4  # times as many as one question may have


def router(state: State) -> APIRouter:
    """The routes of given answers."""
    routes = APIRouter(route_class=StrictRoute, tags=["Decisions"])
    errors: dict[int | str, dict[str, Any]] = {code: ERRORS[code] for code in _STATUSES}

    @routes.post("/v1/decisions", responses=errors)
    async def create_decision(body: DecisionRequest, request: Request) -> Decision:
        """Ask questions about one input, and learn how probable each of the given answers is.

        Each question is asked alone, as it stands, on a line of its own after the input. An answer is what the model
        would write and nothing more, in the spellings with and without a capital and a full stop together; yes and no
        are said in the question's language.
        """
        check_model(body.model, state.settings)
        return await unless_gone(request, _decide(body, state, identity(request)))

    @routes.post("/v1/score", responses=errors)
    async def score_choices(body: ScoreRequest, request: Request) -> ScoreResult:
        """How probable each choice is as the whole answer to a conversation, exactly as it is written."""
        check_model(body.model, state.settings)
        return await unless_gone(request, _score(body, state, identity(request)))

    return routes


async def _score(body: ScoreRequest, state: State, who: Identity) -> ScoreResult:
    limits = state.settings.limits
    _check_count("choices", len(body.choices), limits)
    _check_length("choices", body.choices, limits)
    _check_alike([((text,), f"choices[{index}]") for index, text in enumerate(body.choices)])
    turns = read_turns(body.messages, limits)
    with state.answering.place() as place:
        messages = await open_turns(turns, state, who)
        with about("messages"):
            graded = await _grade(place, messages, body.choices, state, who)
    choices = [
        ScoredChoice(index=index, text=one.text, logprob=clamped(one.logprob), probability=one.probability)
        for index, one in enumerate(graded.scores)
    ]
    return ScoreResult(model=body.model, choices=choices, usage=response_usage(graded.usage))


async def _decide(body: DecisionRequest, state: State, who: Identity) -> Decision:
    limits = state.settings.limits
    _check_count("questions", len(body.questions), limits)
    texts = [_texts(question, f"questions[{index}]", limits) for index, question in enumerate(body.questions)]
    _check_answers(texts, limits)
    # All at once, so that the limits are those of the request.
    turns = turns_of(body.input)
    asked = [_turn(question, f"questions[{index}]") for index, question in enumerate(body.questions)]
    check_turns(turns + asked, limits, "input")
    answers, counts = [], []
    with state.answering.place() as place:
        opened = await open_turns(turns + asked, state, who)
        for question, own, wordings in zip(body.questions, opened[len(turns) :], texts, strict=True):
            messages = _followed(opened[: len(turns)], own)
            with about("input"):
                graded = await _grade(place, messages, [text for group in wordings for text in group], state, who)
            answers.append(deciding.answer(question, deciding.probabilities(wordings, graded.scores)))
            counts.append(graded.usage)
    return Decision(model=body.model, answers=answers, usage=response_usage(_sum(counts)))


def _turn(question: Question, param: str) -> Turn:
    parts = parts_of(question.instructions, f"{param}.instructions")
    below = deciding.described(question)
    return Turn("user", (*parts, below) if below else parts)


def _texts(question: Question, param: str, limits: Limits) -> list[tuple[str, ...]]:
    """What is graded for each of a question's answers."""
    asked = " ".join(part.text for part in question.instructions if part.type == "input_text")
    found = deciding.wordings(question, asked)
    fields = [param] * len(found)
    if isinstance(question, ChoiceQuestion):
        _check_count(f"{param}.choices", len(found), limits)
        fields = [f"{param}.choices[{index}].value" for index in range(len(found))]
    if isinstance(question, ScoreQuestion):
        _check_count(f"{param}.levels", len(found), limits)
        fields = [f"{param}.levels[{index}].label" for index in range(len(found))]
    _check_length(param, [text for group in found for text in group], limits)
    _check_alike(list(zip(found, fields, strict=True)))
    return found


def _check_answers(questions: Sequence[Sequence[Sequence[str]]], limits: Limits) -> None:
    """The bounds of a question's answers are those of all of them together: a request has one place."""
    answers = [group for groups in questions for group in groups]
    if len(answers) > _ANSWERS * limits.choices:
        text = f"questions have {len(answers)} answers together, but at most {_ANSWERS * limits.choices} are taken"
        raise APIError(text, param="questions")
    _check_length("questions", [text for group in answers for text in group], limits)


def _check_count(param: str, count: int, limits: Limits) -> None:
    if count > limits.choices:
        raise APIError(f"{param} has {count}, but at most {limits.choices} are taken", param=param)


def _check_length(param: str, texts: Sequence[str], limits: Limits) -> None:
    characters = sum(map(len, texts))
    if characters > limits.prompt_chars:
        text = f"{param}: {characters} characters of answers are given, but at most {limits.prompt_chars} are taken"
        raise APIError(text, param=param, code="context_length_exceeded")


def _check_alike(answers: Sequence[tuple[Sequence[str], str]]) -> None:
    """Two answers that the model would write alike could not be told apart."""
    seen: dict[str, str] = {}
    for texts, field in answers:
        for text in texts:
            if text in seen:
                raise APIError(f"{field} is the same answer as {seen[text]}: give each once", param=field)
        seen |= dict.fromkeys(texts, field)


def _followed(messages: Sequence[dict[str, Any]], question: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation that asks a question: in the user's last turn, since turns take turns."""
    if messages[-1]["role"] != "user":
        return [*messages, {"role": "user", "content": _lines(question["content"])}]
    content = _lines([*messages[-1]["content"], *question["content"]])
    return [*messages[:-1], {"role": "user", "content": content}]


def _lines(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts that follow one another, each on a line of its own."""
    found: list[dict[str, Any]] = []
    for part in parts:
        follows = bool(found) and part["type"] == found[-1]["type"] == "text"
        found.append({**part, "text": f"\n{part['text']}"} if follows else part)
    return found


async def _grade(
    place: Place, messages: Sequence[dict[str, Any]], texts: Sequence[str], state: State, who: Identity
) -> Graded:
    graded = await state.answering.grade(place, messages, texts, salt=who.salt)
    state.metrics.used(graded.usage)
    return graded


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(
        prompt_tokens=sum(one.prompt_tokens for one in counts),
        completion_tokens=sum(one.completion_tokens for one in counts),
        image_tokens=sum(one.image_tokens for one in counts),
        cached_tokens=sum(one.cached_tokens for one in counts),
    )
