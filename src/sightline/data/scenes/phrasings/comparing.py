"""Wordings for comparisons: more or fewer, larger or smaller, of which category, the odd one out."""

__all__ = ["COMPARING"]

COMPARING: dict[str, dict[str, list[str]]] = {
    "more": {
        "en": [
            "Are there more {first} or more {second}?",
            "Which are there more of, {first} or {second}?",
            "Of which are there more: {first} or {second}?",
            "Do you see more {first} or more {second}?",
            "More {first} or more {second}?",
            "Which are more numerous, {first} or {second}?",
        ],
        "zh": [
            "{first}多还是{second}多？",
            "图中{first}更多还是{second}更多？",
            "{first}和{second}，哪个更多？",
            "{first}和{second}，哪种数量多？",
            "比一比，{first}多还是{second}多？",
            "请问{first}和{second}哪一种比较多？",
        ],
    },
    "larger": {
        "en": [
            "Which is larger, {first} or {second}?",
            "Which one is bigger, {first} or {second}?",
            "What is larger in the picture: {first} or {second}?",
            "Is {first} or {second} the larger one?",
            "Of {first} and {second}, which is drawn larger?",
        ],
        "zh": [
            "{first}和{second}，哪个更大？",
            "哪个更大，{first}还是{second}？",
            "图中是{first}大还是{second}大？",
            "{first}和{second}，哪一个画得更大？",
            "比一比，{first}大还是{second}大？",
        ],
    },
    "smaller": {
        "en": [
            "Which is smaller, {first} or {second}?",
            "Which one is the smaller, {first} or {second}?",
            "What is smaller in the picture: {first} or {second}?",
            "Is {first} or {second} the smaller one?",
            "Of {first} and {second}, which is drawn smaller?",
        ],
        "zh": [
            "{first}和{second}，哪个更小？",
            "哪个更小，{first}还是{second}？",
            "图中是{first}小还是{second}小？",
            "{first}和{second}，哪一个画得更小？",
            "比一比，{first}小还是{second}小？",
        ],
    },
    "category_which": {
        "en": [
            "Which one is {a}?",
            "Which of these is {a}?",
            "Which object is {a}?",
            "What in the picture is {a}?",
            "Name the one that is {a}.",
        ],
        "zh": [
            "哪一个是{name}？",
            "其中哪个是{name}？",
            "图中哪个是{name}？",
            "哪个物体是{name}？",
            "说出是{name}的那一个。",
        ],
    },
    "category_which/food": {
        "en": [
            "Which one can you eat?",
            "Which of these can you eat?",
            "Which object is food?",
            "What in the picture can be eaten?",
            "Name the one that you can eat.",
        ],
        "zh": [
            "哪一个可以吃？",
            "其中哪个能吃？",
            "图中哪个是食物？",
            "哪个东西是可以吃的？",
            "说出可以吃的那一个。",
        ],
    },
    "odd_one_out": {
        "en": [
            "Which one is the odd one out?",
            "Which one does not belong with the others?",
            "Which object is different from all the others?",
            "Find the odd one out.",
            "Which is unlike the rest?",
            "Name the one that does not fit in.",
        ],
        "zh": [
            "哪一个与众不同？",
            "哪一个和其他的不一样？",
            "哪个物体和别的都不同？",
            "找出不同的那一个。",
            "哪个不属于同一类？",
            "说出不合群的那一个。",
        ],
    },
}
