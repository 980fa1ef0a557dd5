"""Wordings for where things are: a place, and left, right, above, below and nearest to each other."""

__all__ = ["RELATING"]

RELATING: dict[str, dict[str, list[str]]] = {
    "at_place": {
        "en": [
            "What is {place}?",
            "What is there {place}?",
            "Which object is {place}?",
            "What do you see {place}?",
            "Name the object {place}.",
            "What can be seen {place}?",
        ],
        "zh": [
            "{place}是什么？",
            "{place}有什么？",
            "{place}的物体是什么？",
            "你在{place}看到什么？",
            "说出{place}的物体。",
            "{place}能看到什么？",
        ],
    },
    "where": {
        "en": [
            "Where is {the}?",
            "In which part of the picture is {the}?",
            "Where can you see {the}?",
            "Where in the picture is {the}?",
            "Tell me where {the} is.",
            "At what position is {the}?",
        ],
        "zh": [
            "{name}在哪里？",
            "{name}在图中的什么位置？",
            "哪里有{name}？",
            "{name}在哪儿？",
            "说出{name}的位置。",
            "请问{name}在什么地方？",
        ],
    },
    "relation": {
        "en": [
            "Is {the} {relation} {other}?",
            "Would you say {the} is {relation} {other}?",
            "In the picture, is {the} {relation} {other}?",
            "Can you see {the} {relation} {other}?",
            "Is it true that {the} is {relation} {other}?",
        ],
        "zh": [
            "{name}是在{other}的{relation}吗？",
            "{name}是不是在{other}的{relation}？",
            "图中{name}是在{other}的{relation}吗？",
            "请问{name}是不是位于{other}的{relation}？",
            "{name}是在{other}的{relation}，对吗？",
        ],
    },
    "beside": {
        "en": [
            "What is {relation} {the}?",
            "Which object is {relation} {the}?",
            "What do you see {relation} {the}?",
            "Name what is {relation} {the}.",
            "What is there {relation} {the}?",
            "What can be seen {relation} {the}?",
        ],
        "zh": [
            "{name}的{relation}是什么？",
            "{name}{relation}有什么？",
            "{name}的{relation}有什么？",
            "说出{name}{relation}的物体。",
            "在{name}的{relation}，你看到什么？",
            "{name}的{relation}能看到什么？",
        ],
    },
    "nearest": {
        "en": [
            "What is nearest to {the}?",
            "Which object is closest to {the}?",
            "What is the nearest object to {the}?",
            "What is next to {the}, closer than anything else?",
            "Name the object nearest to {the}.",
            "Which object is the shortest distance from {the}?",
        ],
        "zh": [
            "离{name}最近的是什么？",
            "哪个物体离{name}最近？",
            "最靠近{name}的物体是什么？",
            "什么东西离{name}最近？",
            "说出离{name}最近的物体。",
            "和{name}距离最小的是什么？",
        ],
    },
}
