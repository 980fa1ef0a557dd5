"""Wordings for how many there are: of everything, of a thing, a shape, a colour, both, a category."""

__all__ = ["COUNTING"]

_PLURALS = [
    "How many {plural} are there?",
    "How many {plural} are in the picture?",
    "Count the {plural}.",
    "How many {plural} can you see?",
    "How many {plural} do you see?",
    "What is the number of {plural}?",
]
_MEASURED = [
    "有几{measure}{name}？",
    "图中有多少{measure}{name}？",
    "数一数有几{measure}{name}。",
    "你能看到几{measure}{name}？",
    "图中一共有几{measure}{name}？",
    "请数出有多少{measure}{name}。",
]

COUNTING: dict[str, dict[str, list[str]]] = {
    "count_all": {
        "en": [
            "How many objects are there?",
            "How many things are in the picture?",
            "Count the objects.",
            "How many objects can you see?",
            "How many objects are there in all?",
            "What is the number of objects?",
        ],
        "zh": [
            "图中有几个物体？",
            "一共有多少个物体？",
            "数一数图中的物体。",
            "这里有几个物体？",
            "你能看到几个物体？",
            "请数出物体的总数。",
        ],
    },
    "count_thing": {"en": _PLURALS, "zh": _MEASURED},
    "count_both": {"en": _PLURALS, "zh": _MEASURED},
    "count_shape": {
        "en": [*_PLURALS[:-1], "How many of the shapes are {plural}?", _PLURALS[-1]],
        "zh": [*_MEASURED[:-1], "{name}有几个？", _MEASURED[-1]],
    },
    "count_colour": {
        "en": [
            "How many {colour} shapes are there?",
            "Count the {colour} shapes.",
            "How many of the shapes are {colour}?",
            "How many {colour} shapes are in the picture?",
            "How many {colour} shapes can you see?",
            "What is the number of {colour} shapes?",
        ],
        "zh": [
            "有几个{colour}的形状？",
            "图中有多少个{colour}的形状？",
            "数一数{colour}的形状。",
            "{colour}的形状有几个？",
            "图中一共有几个{colour}的形状？",
            "请数出有多少个{colour}的形状。",
        ],
    },
    "category_count": {"en": _PLURALS, "zh": _MEASURED},
    "category_count/food": {
        "en": [
            "How many things can you eat?",
            "How many of the things are food?",
            "How many things to eat are there?",
            "How many of these can be eaten?",
            "Count the things that you can eat.",
        ],
        "zh": [
            "有几个东西可以吃？",
            "图中有多少个能吃的东西？",
            "数一数有几个能吃的东西。",
            "能吃的东西有几个？",
            "请数出有多少个可以吃的东西。",
        ],
    },
}
