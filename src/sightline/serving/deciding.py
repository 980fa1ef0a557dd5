"""From a question with given answers to the texts that are graded for them, and from their grades to its answer.

The question is asked as it stands: a model that was never trained on lists of options answers worse beside one. An
answer counts in the spellings that models use, with or without a capital and a full stop, since what is asked for is
what it says and not how. This file knows no HTTP, no pictures and no engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sightline.engine.scoring import Score
from sightline.serving.schemas.decisions import (
    ChoiceAnswer,
    ChoiceProbability,
    ChoiceQuestion,
    LevelProbability,
    PredicateAnswer,
    PredicateQuestion,
    ScoreAnswer,
    ScoreQuestion,
)

__all__ = ["answer", "described", "probabilities", "spellings", "wordings"]

AnyQuestion = PredicateQuestion | ChoiceQuestion | ScoreQuestion
AnyAnswer = PredicateAnswer | ChoiceAnswer | ScoreAnswer

# How yes and no are said to a question in Chinese depends on its verb.
_YES = {"en": ("yes",), "zh": ("是", "是的", "对", "有", "能")}
_NO = {"en": ("no",), "zh": ("不是", "不", "不对", "没有", "不能")}
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def spellings(text: str) -> tuple[str, ...]:
    """`text` as it is and with a capital, each without and with a full stop.

    >>> spellings("red")
    ('red', 'red.', 'Red', 'Red.')
    """
    stop = "。" if _CHINESE.match(text[-1]) else "."
    found = []
    for one in (text, text[0].upper() + text[1:]):
        found += [one, one + stop] if text[-1].isalnum() else [one]
    return tuple(dict.fromkeys(found))


def wordings(question: AnyQuestion, asked: str) -> list[tuple[str, ...]]:
    """For each answer that `question` allows the texts that give it; of a predicate yes, and no.

    `asked` is the question's text, which says what language to answer yes and no in.
    """
    language = "zh" if _CHINESE.search(asked) else "en"
    yes, no = (tuple(spelt for word in words[language] for spelt in spellings(word)) for words in (_YES, _NO))
    if isinstance(question, PredicateQuestion):
        return [yes, no]
    if isinstance(question, ScoreQuestion):
        return [spellings(level.label) for level in question.levels]
    values = (choice.value for choice in question.choices)
    return [(yes if value else no) if isinstance(value, bool) else spellings(value) for value in values]


def described(question: AnyQuestion) -> str:
    """What stands below a question whose answers have descriptions: all of them, a line each."""
    if isinstance(question, PredicateQuestion):
        return ""
    if isinstance(question, ScoreQuestion):
        options = [(level.label, level.description) for level in question.levels]
    else:
        options = [(_said(choice.value), choice.description) for choice in question.choices]
    if not any(description for _, description in options):
        return ""
    return "\n".join(f"{name}: {description}" if description else name for name, description in options)


def _said(value: str | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def probabilities(texts: Sequence[Sequence[str]], scores: Sequence[Score]) -> list[float]:
    """How probable each answer is among them all, from the grades of the texts that give it."""
    logprobs = {score.text: score.logprob for score in scores}
    most = max(logprobs.values())
    weights = [math.fsum(math.exp(logprobs[text] - most) for text in group) for group in texts]
    return [weight / math.fsum(weights) for weight in weights]


def answer(question: AnyQuestion, found: Sequence[float]) -> AnyAnswer:
    """The answer to `question` whose allowed answers are as probable as `found` says."""
    best = max(range(len(found)), key=found.__getitem__)
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(name=question.name, probability=found[0])
    if isinstance(question, ScoreQuestion):
        return ScoreAnswer(
            name=question.name,
            score=math.fsum(value * probability for value, probability in enumerate(found)),
            confidence=found[best],
            probabilities=[
                LevelProbability(label=level.label, value=value, probability=probability)
                for value, (level, probability) in enumerate(zip(question.levels, found, strict=True))
            ],
        )
    return ChoiceAnswer(
        name=question.name,
        choice=question.choices[best].value,
        confidence=found[best],
        probabilities=[
            ChoiceProbability(value=choice.value, probability=probability)
            for choice, probability in zip(question.choices, found, strict=True)
        ],
    )
