"""How each kind of question is put, in English and Chinese: the wording varies, the answer's form does not.

A table only. Fields: {a} with an indefinite article, {the} with a definite one, {name} bare, {plural},
{measure} the Chinese measure word, {place}, {relation}, {other} a second object with its article, {colour},
{first} and {second} the two sizes in either order.
"""

__all__ = ["PHRASINGS"]

PHRASINGS = {
    "name": {
        "en": [
            "What is this?",
            "What is in the picture?",
            "Name this.",
            "What do you see?",
            "What does this show?",
        ],
        "zh": ["这是什么？", "图中是什么？", "这张图片里是什么？", "你看到了什么？", "说出它的名字。"],
    },
    "list": {
        "en": [
            "List everything, row by row.",
            "Name all the objects in reading order.",
            "What is in the picture, from left to right and top to bottom?",
            "Read out the grid, row by row.",
        ],
        "zh": [
            "按行列出所有物体。",
            "从左到右、从上到下，图中有什么？",
            "逐行说出图中的物体。",
            "请按阅读顺序列出所有东西。",
        ],
    },
    "describe": {
        "en": [
            "Describe the picture.",
            "What does this picture show?",
            "Say exactly what is where.",
            "Give a description of this image.",
        ],
        "zh": [
            "描述这张图片。",
            "请说明图中有什么、在哪里。",
            "这张图片的内容是什么？",
            "请描述图中的物体。",
        ],
    },
    "count_all": {
        "en": [
            "How many objects are there?",
            "How many things are in the picture?",
            "Count the objects.",
            "How many objects can you see?",
        ],
        "zh": ["图中有几个物体？", "一共有多少个物体？", "数一数图中的物体。", "这里有几个物体？"],
    },
    "count_thing": {
        "en": [
            "How many {plural} are there?",
            "How many {plural} are in the picture?",
            "Count the {plural}.",
            "How many {plural} can you see?",
        ],
        "zh": [
            "有几{measure}{name}？",
            "图中有多少{measure}{name}？",
            "数一数有几{measure}{name}。",
            "你能看到几{measure}{name}？",
        ],
    },
    "count_colour": {
        "en": [
            "How many {colour} shapes are there?",
            "Count the {colour} shapes.",
            "How many of the shapes are {colour}?",
            "How many {colour} shapes are in the picture?",
        ],
        "zh": [
            "有几个{colour}的形状？",
            "图中有多少个{colour}的形状？",
            "数一数{colour}的形状。",
            "{colour}的形状有几个？",
        ],
    },
    "at_place": {
        "en": [
            "What is {place}?",
            "What is there {place}?",
            "Which object is {place}?",
            "What do you see {place}?",
        ],
        "zh": ["{place}是什么？", "{place}有什么？", "{place}的物体是什么？", "你在{place}看到什么？"],
    },
    "where": {
        "en": [
            "Where is {the}?",
            "In which part of the picture is {the}?",
            "Where can you see {the}?",
            "Where in the picture is {the}?",
        ],
        "zh": ["{name}在哪里？", "{name}在图中的什么位置？", "哪里有{name}？", "{name}在哪儿？"],
    },
    "exists": {
        "en": [
            "Is there {a}?",
            "Is there {a} in the picture?",
            "Can you see {a}?",
            "Does the picture show {a}?",
        ],
        "zh": ["图中有{name}吗？", "有没有{name}？", "能看到{name}吗？", "这张图片里有{name}吗？"],
    },
    "colour": {
        "en": [
            "What colour is {the}?",
            "Which colour is {the}?",
            "What is the colour of {the}?",
            "Tell me the colour of {the}.",
        ],
        "zh": [
            "{name}是什么颜色？",
            "{name}是什么颜色的？",
            "说出{name}的颜色。",
            "图中的{name}是哪种颜色？",
        ],
    },
    "size": {
        "en": [
            "Is {the} {first} or {second}?",
            "What size is {the}, {first} or {second}?",
            "How big is {the}: {first} or {second}?",
        ],
        "zh": [
            "{name}是{first}还是{second}？",
            "{name}的大小如何，{first}还是{second}？",
            "{name}是{first}的还是{second}的？",
        ],
    },
    "relation": {
        "en": [
            "Is {the} {relation} {other}?",
            "Would you say {the} is {relation} {other}?",
            "In the picture, is {the} {relation} {other}?",
        ],
        "zh": [
            "{name}在{other}的{relation}吗？",
            "{name}是不是在{other}的{relation}？",
            "图中{name}在{other}的{relation}吗？",
        ],
    },
}
