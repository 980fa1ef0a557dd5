"""How each question about a panel (print, digits, charts) is put, in English and Chinese: a table, and its reader.

The last wording of each is kept from training (`holdout.wordings`). The wording varies, the answer's form does not.
Fields: {place} as in `language.PLACES`, {text} a print with its article, {word} a bare word, {label} a chart's label,
{value} a number, {part} what carries a value (bar, slice), {measure} its Chinese measure word, {most} and {least} what
the extreme ones are called.
"""

import random
from collections.abc import Mapping

from sightline.data.scenes.holdout import wordings
from sightline.data.scenes.language import YES_NO

__all__ = ["PANEL_PHRASINGS", "Found", "compared", "phrase", "word_there"]

Found = tuple[dict[str, str], str]  # the fields of a question, and its answer

COMPARED = {"en": ("{} < {}, so no.", "{} > {}, so yes."), "zh": ("{} < {}，不是。", "{} > {}，是。")}

PANEL_PHRASINGS: dict[str, dict[str, list[str]]] = {
    "word": {
        "en": [
            "What word is printed?",
            "Read the word.",
            "What does the word say?",
            "Which word is in the picture?",
            "What is the word?",
        ],
        "zh": ["图中印的是什么单词？", "读出这个单词。", "这个单词是什么？", "图中的单词是哪个？", "请读出单词。"],
    },
    "number": {
        "en": [
            "What number is printed?",
            "Read the number.",
            "Which number is in the picture?",
            "What is the number?",
            "What number do you see?",
        ],
        "zh": ["图中印的数字是多少？", "读出这个数字。", "这个数字是多少？", "图中的数字是多少？", "请读出数字。"],
    },
    "read_at": {
        "en": [
            "What is printed {place}?",
            "Read what is {place}.",
            "What does it say {place}?",
            "Which text is {place}?",
        ],
        "zh": ["{place}印着什么？", "读出{place}的文字。", "{place}写的是什么？", "{place}的文字是什么？"],
    },
    "read_all": {
        "en": [
            "Read everything that is printed.",
            "What is printed in the picture?",
            "Read all the text.",
            "What does the picture say?",
        ],
        "zh": ["读出图中所有的文字。", "图中印着哪些内容？", "请读出全部文字。", "图中写了什么？"],
    },
    "text_where": {
        "en": [
            "Where is {text}?",
            "Where is {text} printed?",
            "In which part of the picture is {text}?",
            "Where can you read {text}?",
        ],
        "zh": ["{text}在哪里？", "{text}印在哪里？", "{text}在图中的什么位置？", "哪里写着{text}？"],
    },
    "word_exists": {
        "en": [
            'Is the word "{word}" in the picture?',
            'Does it say "{word}"?',
            'Is "{word}" printed here?',
            'Can you read the word "{word}"?',
        ],
        "zh": [
            "图中有单词“{word}”吗？",
            "有没有写着“{word}”？",
            "这里印有“{word}”吗？",
            "有没有“{word}”这个单词？",
        ],
    },
    "text_colour": {
        "en": [
            "What colour is {text}?",
            "Which colour is {text}?",
            "In which colour is {text} printed?",
            "Say in what colour {text} appears.",
        ],
        "zh": ["{text}是什么颜色？", "{text}是什么颜色的？", "说出{text}的颜色。", "{text}是用哪种颜色印的？"],
    },
    "text_describe": {
        "en": [
            "Describe the page.",
            "Say what is printed and where.",
            "What is printed, and where?",
            "Describe the text in the picture.",
        ],
        "zh": ["描述这一页。", "请说明印了什么、在哪里。", "印着什么？在哪里？", "描述图中的文字。"],
    },
    "digit": {
        "en": [
            "What digit is this?",
            "Which digit is written here?",
            "Read the handwritten digit.",
            "What is the handwritten digit?",
        ],
        "zh": ["这是哪个数字？", "这里写的是哪个数字？", "读出这个手写数字。", "手写的数字是几？"],
    },
    "digits": {
        "en": [
            "Which digits are written?",
            "Read the handwritten digits.",
            "Read the digits from left to right.",
            "What are the digits, from left to right?",
        ],
        "zh": ["写了哪些数字？", "读出手写的数字。", "从左到右读出这些数字。", "从左到右依次是哪些数字？"],
    },
    "digits_count": {
        "en": [
            "How many digits are there?",
            "How many digits are written?",
            "Count the digits.",
            "What is the number of digits?",
        ],
        "zh": ["有几个数字？", "写了几个数字？", "数一数有几个数字。", "请数出有多少个数字。"],
    },
    "chart_tallest": {
        "en": [
            "Which {part} is the {most}?",
            "What is the label of the {most} {part}?",
            "Which label has the highest value?",
            "Name the {most} {part}.",
        ],
        "zh": [
            "哪{measure}{part}{most}？",
            "{most}的{part}的标签是什么？",
            "哪个标签的数值最大？",
            "说出{most}的{part}。",
        ],
    },
    "chart_smallest": {
        "en": [
            "Which {part} is the {least}?",
            "What is the label of the {least} {part}?",
            "Which label has the lowest value?",
            "Name the {least} {part}.",
        ],
        "zh": [
            "哪{measure}{part}{least}？",
            "{least}的{part}的标签是什么？",
            "哪个标签的数值最小？",
            "说出{least}的{part}。",
        ],
    },
    "chart_value": {
        "en": [
            'What is the value of "{label}"?',
            'How much is "{label}"?',
            'Which value does the {part} "{label}" have?',
            'Read the value of the {part} "{label}".',
        ],
        "zh": [
            "“{label}”的数值是多少？",
            "“{label}”是多少？",
            "{part}“{label}”的数值是多少？",
            "读出{part}“{label}”的数值。",
        ],
    },
    "chart_label": {
        "en": [
            "Which label has the value {value}?",
            "Which {part} has the value {value}?",
            "What is the label of the {part} with the value {value}?",
            "Whose value is {value}?",
        ],
        "zh": [
            "哪个标签的数值是{value}？",
            "哪{measure}{part}的数值是{value}？",
            "数值为{value}的{part}的标签是什么？",
            "谁的数值是{value}？",
        ],
    },
    "chart_total": {
        "en": [
            "What is the total of all values?",
            "What do all values add up to?",
            "What is the sum of the {part}s?",
            "Add up all the values.",
        ],
        "zh": [
            "所有数值的总和是多少？",
            "全部数值加起来是多少？",
            "各{part}的数值之和是多少？",
            "把所有数值相加是多少？",
        ],
    },
    "chart_count": {
        "en": [
            "How many {part}s are there?",
            "How many {part}s does the chart have?",
            "Count the {part}s.",
            "What is the number of {part}s?",
        ],
        "zh": [
            "有几{measure}{part}？",
            "图表有多少{measure}{part}？",
            "数一数有几{measure}{part}。",
            "请数出有多少{measure}{part}。",
        ],
    },
    "chart_more": {
        "en": [
            'Is "{label}" more than "{other}"?',
            'Is the value of "{label}" higher than that of "{other}"?',
            'Does "{label}" have a higher value than "{other}"?',
            'Is the {part} "{label}" larger than the {part} "{other}"?',
        ],
        "zh": [
            "“{label}”是不是比“{other}”多？",
            "“{label}”的数值是不是比“{other}”的大？",
            "“{label}”的数值是不是大于“{other}”？",
            "{part}“{label}”的数值是不是比{part}“{other}”的高？",
        ],
    },
    "chart_describe": {
        "en": [
            "Describe the chart.",
            "What does the chart show?",
            "Read out the chart.",
            "Give all labels and values.",
        ],
        "zh": ["描述这个图表。", "这个图表显示了什么？", "读出图表的内容。", "说出所有的标签和数值。"],
    },
}


def phrase(kind: str, rng: random.Random, language: str, fields: Mapping[str, str], held_out: bool) -> str:
    """A question of the kind, its fields filled, in a wording of training or in the one kept from it."""
    return rng.choice(wordings(PANEL_PHRASINGS[kind][language], held_out)).format(**fields)


def word_there(present: bool, language: str) -> str:
    """The answer to whether a word is printed."""
    return YES_NO["has"][language][present]


def compared(one: int, other: int, language: str) -> str:
    """The answer to whether `one` is more than `other`, which differs from it."""
    return COMPARED[language][one > other].format(one, other)
