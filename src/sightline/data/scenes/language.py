"""The words for what a scene holds, in English and Chinese: names, plurals, colours, places, relations.

Tiny functions over tables. It does not know pictures, or which question is asked.
"""

from collections.abc import Mapping

from sightline.data.scenes.atlas import noun_of
from sightline.data.scenes.scene import Identity

__all__ = [
    "COLONS",
    "COLOUR_WORDS",
    "LANGUAGES",
    "NOTHING",
    "NUMBER_WORDS",
    "ORDINALS",
    "PLACES",
    "QUOTES",
    "RELATIONS",
    "SHAPE_WORDS",
    "SIZE_WORDS",
    "YES_NO",
    "counted",
    "definite",
    "enumerated",
    "indefinite",
    "join",
    "listed",
    "measure",
    "name",
    "noted",
    "plural",
    "sentence",
    "summed",
]

LANGUAGES = ("en", "zh")

COLOUR_WORDS = {
    "en": {
        colour: colour for colour in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
    },
    "zh": {
        "red": "红色",
        "orange": "橙色",
        "yellow": "黄色",
        "green": "绿色",
        "blue": "蓝色",
        "purple": "紫色",
        "pink": "粉色",
        "black": "黑色",
        "white": "白色",
    },
}
SHAPE_WORDS = {
    "en": {shape: shape for shape in ("circle", "square", "triangle", "diamond", "star", "heart", "cross")},
    "zh": {
        "circle": "圆形",
        "square": "正方形",
        "triangle": "三角形",
        "diamond": "菱形",
        "star": "五角星",
        "heart": "心形",
        "cross": "十字形",
    },
}
ANY_SHAPE = {"en": "shape", "zh": "的形状"}
SIZE_WORDS = {"en": {"small": "small", "large": "large"}, "zh": {"small": "小", "large": "大"}}

AND, OR = {"en": " and ", "zh": "和"}, {"en": " or ", "zh": "或"}
OBJECTS = {"en": " objects", "zh": "个物体"}
EACH, AMONG = {"en": ", each ", "zh": "，都是"}, {"en": ", among them ", "zh": "，其中有"}
QUOTES = {"en": '"{}"', "zh": "“{}”"}  # as a word that is printed stands in a sentence

# By row and column of the 3 x 3 cells.
PLACES = {
    "en": (
        ("at the top left", "at the top", "at the top right"),
        ("on the left", "in the centre", "on the right"),
        ("at the bottom left", "at the bottom", "at the bottom right"),
    ),
    "zh": (("左上角", "上方", "右上角"), ("左边", "中间", "右边"), ("左下角", "下方", "右下角")),
}
RELATIONS = {
    "en": {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"},
    "zh": {"left": "左边", "right": "右边", "above": "上面", "below": "下面"},
}
VOWEL_SOUNDS = (*"aeiou", "hour")
NOTHING = {"en": "nothing", "zh": "什么都没有"}
NUMBER_WORDS = {
    "en": ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "zh": ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九"),
}
YES_NO = {  # by the question's verb: no, yes
    "is": {"en": ("No.", "Yes."), "zh": ("不是。", "是。")},
    "has": {"en": ("No.", "Yes."), "zh": ("没有。", "有。")},
    "can": {"en": ("No.", "Yes."), "zh": ("不能。", "能。")},
    "same": {"en": ("No.", "Yes."), "zh": ("不一样。", "一样。")},
}
COLONS = {"en": ": ", "zh": "："}
ORDINALS = {"en": ("first", "second"), "zh": ("第一", "第二")}


def name(identity: Identity, language: str) -> str:
    """`duck`, `red circle`; `circle` or `red shape` where the identity leaves the colour or the shape empty."""
    if identity[0] == "thing":
        return getattr(noun_of(identity[1]), language)
    colour = COLOUR_WORDS[language].get(identity[1], "")
    shape = SHAPE_WORDS[language].get(identity[2], ANY_SHAPE[language])
    return f"{colour} {shape}".strip() if language == "en" else colour + shape


def plural(identity: Identity, language: str) -> str:
    """`ducks`, `red circles`, `crosses`; in Chinese, the name."""
    if language == "zh":
        return name(identity, "zh")
    if identity[0] == "thing":
        return noun_of(identity[1]).en_plural
    singular = name(identity, "en")
    return singular + ("es" if singular.endswith("s") else "s")


def measure(identity: Identity) -> str:
    """The Chinese measure word."""
    return noun_of(identity[1]).zh_measure if identity[0] == "thing" else "个"


def definite(identity: Identity, language: str) -> str:
    return f"the {name(identity, 'en')}" if language == "en" else name(identity, "zh")


def indefinite(identity: Identity, language: str, size: str = "") -> str:
    """`a duck`, `an orange square`, `a small red circle`; 一只鸭子, 一个红色的小圆形, 一只大的鸭子."""
    noun = name(identity, language)
    if language == "zh":
        if size and identity[0] == "shape":
            noun = f"{COLOUR_WORDS['zh'][identity[1]]}的{SIZE_WORDS['zh'][size]}{SHAPE_WORDS['zh'][identity[2]]}"
        elif size:
            noun = f"{SIZE_WORDS['zh'][size]}的{noun}"
        return f"一{measure(identity)}{noun}"
    if size:
        return f"a {SIZE_WORDS['en'][size]} {noun}"
    return f"{'an' if noun.lower().startswith(VOWEL_SOUNDS) else 'a'} {noun}"


def listed(identity: Identity, language: str) -> str:
    """As a name stands in a list: `a duck`, in Chinese without its number.

    English keeps the article: a tokenizer that spells what is printed would take a bare first name for print.
    """
    return indefinite(identity, "en") if language == "en" else name(identity, language)


def noted(text: str, note: str, language: str) -> str:
    """`a duck (1)`; the text alone where there is nothing to note."""
    if not note:
        return text
    return f"{text} ({note})" if language == "en" else f"{text}（{note}）"


def counted(identity: Identity, count: int, language: str) -> str:
    """`a duck`, `three red circles`; 一只鸭子, 三个红色圆形."""
    if language == "zh":
        return f"{NUMBER_WORDS['zh'][count]}{measure(identity)}{name(identity, 'zh')}"
    return indefinite(identity, "en") if count == 1 else f"{NUMBER_WORDS['en'][count]} {plural(identity, 'en')}"


def enumerated(parts: list[str], language: str, last: Mapping[str, str] = AND) -> str:
    """`a, b and c`; a、b和c. `last` stands before the last of several."""
    if len(parts) == 1:
        return parts[0]
    return f"{(', ' if language == 'en' else '、').join(parts[:-1])}{last[language]}{parts[-1]}"


def summed(total: int, names: list[Identity], language: str, is_all: bool) -> str:
    """`nine objects, each a duck or a cat`, where all names are given; else `nine objects, among them a duck, a cat and
    a fox`. 九个物体，都是鸭子或猫; 九个物体，其中有鸭子、猫和狐狸.
    """
    told = enumerated([listed(one, language) for one in names], language, OR if is_all else AND)
    objects = f"{NUMBER_WORDS[language][total]}{OBJECTS[language]}"
    return f"{objects}{(EACH if is_all else AMONG)[language]}{told}"


def join(parts: list[str], language: str) -> str:
    """`a, b and c`; in Chinese, clauses with commas."""
    if language == "zh" or len(parts) == 1:
        return "，".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str, language: str) -> str:
    """With a capital (English) and the language's full stop."""
    return f"{text[0].upper()}{text[1:]}." if language == "en" else f"{text}。"
