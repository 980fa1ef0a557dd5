"""Wordings for the later turns of a dialogue, in which "it" is what was spoken of last."""

__all__ = ["DIALOGUE"]

DIALOGUE: dict[str, dict[str, list[str]]] = {
    "it/where": {
        "en": ["Where is it?", "And where is it?", "In which part of the picture?", "Where do you see it?"],
        "zh": ["它在哪里？", "它在什么位置？", "在图中的哪里？", "你在哪里看到它？"],
    },
    "it/colour": {
        "en": ["What colour is it?", "Which colour is it?", "And its colour?", "What is its colour?"],
        "zh": ["它是什么颜色？", "它是什么颜色的？", "颜色呢？", "请问它是哪个颜色？"],
    },
    "it/size": {
        "en": [
            "Is it {first} or {second}?",
            "What size is it, {first} or {second}?",
            "{First} or {second}?",
            "Does it look {first} or {second}?",
        ],
        "zh": [
            "它是{first}还是{second}？",
            "它的大小如何，{first}还是{second}？",
            "{first}还是{second}？",
            "它看起来是{first}还是{second}？",
        ],
    },
    "it/beside": {
        "en": [
            "What is {relation} it?",
            "And what is {relation} it?",
            "Which object is {relation} it?",
            "What can be seen {relation} it?",
        ],
        "zh": [
            "它的{relation}是什么？",
            "它{relation}呢？",
            "它的{relation}有什么？",
            "它的{relation}能看到什么？",
        ],
    },
    "it/relation": {
        "en": [
            "Is it {relation} {other}?",
            "And is it {relation} {other}?",
            "Would you say it is {relation} {other}?",
            "Is it true that it is {relation} {other}?",
        ],
        "zh": [
            "它是在{other}的{relation}吗？",
            "它是不是在{other}的{relation}？",
            "那它是在{other}的{relation}吗？",
            "它是在{other}的{relation}，对吗？",
        ],
    },
    "it/category": {
        "en": ["Is it {a}?", "And is it {a}?", "Would you call it {a}?", "Is that {a}?"],
        "zh": ["它是{name}吗？", "它是不是{name}？", "它是一种{name}吗？", "那是{name}吗？"],
    },
    "it/food": {
        "en": ["Can you eat it?", "Is it food?", "Could one eat it?", "Can it be eaten?"],
        "zh": ["它能吃吗？", "它能不能吃？", "能吃它吗？", "这个能吃吗？"],
    },
    "it/count": {
        "en": [
            "How many of them are there?",
            "How many of those are there?",
            "How many of them can you see?",
            "And how many of them are in the picture?",
        ],
        "zh": [
            "这样的一共有几{measure}？",
            "这样的有几{measure}？",
            "图中这样的有几{measure}？",
            "这样的一共能看到几{measure}？",
        ],
    },
}
