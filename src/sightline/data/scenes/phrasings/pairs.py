"""Wordings for two pictures: whether they show the same, what is new, what is gone, and what is in which."""

__all__ = ["PAIRS"]

PAIRS: dict[str, dict[str, list[str]]] = {
    "same_different": {
        "en": [
            "Do the two pictures show the same objects?",
            "Are the same objects in both pictures?",
            "Do both pictures contain the same objects?",
            "Is the second picture of the same objects as the first?",
            "Are the objects in the two pictures the same?",
            "Do both pictures show exactly the same objects?",
        ],
        "zh": [
            "两张图片里的物体一样吗？",
            "这两张图的物体相同吗？",
            "两张图片中的物体都一样吗？",
            "第二张图片里的物体和第一张一样吗？",
            "两张图里的东西是一样的吗？",
            "请问两张图片里画的物体是否相同？",
        ],
    },
    "same_different/single": {
        "en": [
            "Do the two pictures show the same thing?",
            "Is it the same thing in both pictures?",
            "Are both pictures of the same thing?",
            "Does the second picture show the same as the first?",
            "Is the thing in the two pictures the same?",
        ],
        "zh": [
            "两张图片里的东西是一样的吗？",
            "两张图里的东西一样吗？",
            "这两张图片画的是一样的东西吗？",
            "第二张图片里的东西和第一张的一样吗？",
            "请问两张图中的物体相同吗？",
        ],
    },
    "added": {
        "en": [
            "What is in the second picture that is not in the first?",
            "What is new in the second picture?",
            "What does only the second picture show?",
            "Which object is in the second picture but not in the first?",
            "What has been added in the second picture?",
            "What can be seen in the second picture alone?",
        ],
        "zh": [
            "第二张图里有什么是第一张没有的？",
            "第二张图片多了什么？",
            "只有第二张图里有什么？",
            "哪个物体在第二张图里，却不在第一张里？",
            "第二张图片新增了什么？",
            "和第一张比，第二张多出了什么？",
        ],
    },
    "removed": {
        "en": [
            "What is in the first picture that is not in the second?",
            "What is missing in the second picture?",
            "What does only the first picture show?",
            "Which object is in the first picture but not in the second?",
            "What is gone in the second picture?",
            "What can be seen in the first picture alone?",
        ],
        "zh": [
            "第一张图里有什么是第二张没有的？",
            "第二张图片少了什么？",
            "只有第一张图里有什么？",
            "哪个物体在第一张图里，却不在第二张里？",
            "第二张图片里什么不见了？",
            "和第一张比，第二张缺了什么？",
        ],
    },
    "which_picture": {
        "en": [
            "Which picture shows {a}, the first or the second?",
            "In which picture is there {a}, the first or the second?",
            "Is {a} in the first or in the second picture?",
            "Which of the two pictures shows {a}?",
            "Which picture has {a} in it?",
        ],
        "zh": [
            "哪张图片里有{name}，第一张还是第二张？",
            "{name}在第一张图里还是第二张图里？",
            "两张图片中哪一张有{name}？",
            "哪一张图里能看到{name}？",
            "请问{name}出现在哪张图片里？",
        ],
    },
    "in_picture": {
        "en": [
            "What is in the {ordinal} picture?",
            "What does the {ordinal} picture show?",
            "Name everything in the {ordinal} picture.",
            "What do you see in the {ordinal} picture?",
            "Which objects are in the {ordinal} picture?",
        ],
        "zh": [
            "{ordinal}张图片里有什么？",
            "{ordinal}张图里是什么？",
            "说出{ordinal}张图片里的所有物体。",
            "你在{ordinal}张图里看到什么？",
            "{ordinal}张图片里有哪些物体？",
        ],
    },
}
