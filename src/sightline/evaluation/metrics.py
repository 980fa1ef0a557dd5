"""When an answer is right, and how sure a share of right answers is: small pure functions of text and counts.

Each metric gives a score between 0 and 1. They know no models, files or worlds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

__all__ = ["METRICS", "anls", "chosen", "contains", "effective_total", "exact", "normalize", "score", "wilson_interval"]

# A letter or digit of a script that puts spaces between words: beside one, a found text is only part of a word.
# The vowel signs and accents of such scripts, which are no letters to `re`, belong to their words.
_SPACED = r"(?:[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_SPACED += r"|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])"
# "B", "(b)", "B.", "B) a cat", "Answer: B", "The answer is (B)"; of normalised text.
_LETTER = re.compile(
    r"(?:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?:? |答案[是为]?:? ?|选 ?)?"
    r"\(?([a-z])(?:$|[).:、,])"
)


def exact(answer: str, truth: str) -> float:
    """1 if the two are the same words: case, width, outer space and a final stop do not count.

    >>> exact("a  Duck", "A duck."), exact("A dog.", "A duck.")
    (1.0, 0.0)
    """
    return float(normalize(answer) == normalize(truth))


def contains(answer: str, truth: str) -> float:
    """1 if the truth stands in the answer, as whole words where the script has spaces.

    >>> contains("I see 3 red ducks.", "red ducks"), contains("There are 13.", "3"), contains("这是一只鸭子。", "鸭子")
    (1.0, 0.0, 1.0)
    >>> contains("It is 3.5 m.", "3"), contains("1,250", "250"), contains("It is 3.", "3")
    (0.0, 0.0, 1.0)
    >>> contains("2,3", "3"), contains("3,2024", "3"), contains("It is -3.", "3"), contains("1-3", "3")
    (1.0, 1.0, 0.0, 1.0)
    """
    said, wanted = normalize(answer), normalize(truth)
    if not wanted:
        return float(not said)
    before = f"(?<!{_SPACED})" if re.match(_SPACED, wanted) else ""
    after = f"(?!{_SPACED})" if re.match(_SPACED, wanted[-1]) else ""
    # Nor is 3 in 3.5 or -3, or 250 in 1,250.
    before += r"(?<!\d\.)(?<!(?<!\w)[-\u2212])" if wanted[0].isdigit() else ""
    before += r"(?<!\d,)" if re.match(r"\d{3}(?!\d)", wanted) else ""
    after += r"(?!\.\d|,\d{3}(?!\d))" if wanted[-1].isdigit() else ""
    return float(re.search(before + re.escape(wanted) + after, said) is not None)


def anls(answer: str, truth: str, threshold: float = 0.5) -> float:
    """The normalised Levenshtein similarity, 0 where it is below `threshold`: forgives slips of reading.

    ANLS is its mean over questions (Biten et al., 2019, "Scene Text Visual Question Answering", section 4.2).

    >>> anls("Main Stret", "Main Street"), anls("Broadway", "Main Street")
    (0.909..., 0.0)
    """
    similarity = Levenshtein.normalized_similarity(normalize(answer), normalize(truth))
    # The paper keeps a distance below the threshold; one that equals it counts nothing.
    return similarity if 1 - similarity < threshold else 0.0


def chosen(answer: str, choices: Sequence[str]) -> int | None:
    """Which of `choices` an answer names: by its text, else its letter, else as the only one it contains.

    >>> [chosen(said, ["a dog", "a cat"]) for said in ("B.", "(b)", "B) cat", "A cat", "It is a cat.", "C", "A bird")]
    [1, 1, 1, 1, 1, None, None]
    """
    said = normalize(answer)
    texts = [normalize(choice) for choice in choices]
    if said in texts:
        return texts.index(said)
    letter = _LETTER.match(said)
    if letter and (index := ord(letter[1]) - ord("a")) < len(choices):
        return index
    found = [index for index, text in enumerate(texts) if text and contains(said, text)]
    # "a black cat" also holds "cat": the longest counts if it holds the others.
    longest = max(found, key=lambda index: len(texts[index]), default=None)
    if longest is None or not all(texts[index] in texts[longest] for index in found):
        return None
    return longest


METRICS: dict[str, Callable[[str, str], float]] = {"exact": exact, "contains": contains, "anls": anls}


def score(metric: str, answer: str, truths: Sequence[str], choices: Sequence[str] = ()) -> float:
    """The best score of `answer` over all right answers; `metric` is one of `METRICS` or "choice".

    >>> score("exact", "two", ["2", "two"]), score("choice", "(b)", ["a cat"], ["a dog", "a cat"])
    (1.0, 1.0)
    """
    if metric == "choice":
        named = chosen(answer, choices)
        return float(named is not None and named in {chosen(truth, choices) for truth in truths})
    return max(METRICS[metric](answer, truth) for truth in truths)


def normalize(text: str) -> str:
    """NFKC, casefolded, single spaces, without a final stop.

    >>> normalize(" A red  Circle. "), normalize("Ｔｗｏ！")
    ('a red circle', 'two')
    """
    # Folding can undo a composition, so it stands between two.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split()).rstrip(".。! ")


def effective_total(groups: Sequence[tuple[float, int]]) -> float:
    """How many independent questions say as much as these, whose answers go together in groups: `(right, total)` each.

    The design effect of Kish (1965), with the jackknife's variance between groups: never more than there are questions.
    Where all are right or all wrong, or there is one group, so that nothing can be told of it, as many as there are
    groups.

    >>> effective_total([(8, 8), (0, 8), (8, 8), (0, 8)])
    3.0
    """
    right, total = sum(group[0] for group in groups), sum(group[1] for group in groups)
    share = right / total
    if not 0 < share < 1 or len(groups) == 1:
        return len(groups)
    # Each group against the others (the jackknife): a large one draws the mean to itself.
    apart = sum(((group[0] - share * group[1]) / (1 - group[1] / total)) ** 2 for group in groups)
    between = apart * (len(groups) - 1) / len(groups)
    return min(total, share * (1 - share) * total**2 / between) if between else total


def wilson_interval(right: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, 1927); (0, 1) when nothing was asked.

    `right` may be a sum of scores between 0 and 1, which vary less than rights and wrongs of the same mean: the
    interval is then wider than it need be, never narrower.

    >>> [round(end, 3) for end in wilson_interval(15, 148)]
    [0.062, 0.16]
    """
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
