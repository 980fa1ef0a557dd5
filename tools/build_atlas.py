"""Rebuild the atlas of drawn things in src/sightline/assets/atlas from the artists' own vector drawings.

    npm install --prefix DIR @iconify-json/noto @iconify-json/noto-v1 @iconify-json/twemoji \
        @iconify-json/fluent-emoji @iconify-json/fluent-emoji-flat @iconify-json/emojione \
        @iconify-json/streamline-emojis @iconify-json/openmoji cldr-annotations-full
    python tools/build_atlas.py DIR/node_modules

It needs `pip install '.[assets]'` (resvg-py). Each artist becomes one WebP sheet of square sprites, and
things.json says what each sprite is called in English and Chinese. A thing is in the table below only if the
artists draw it recognisably alike, it has one plain name, and no other thing looks like its twin. This file
does not know how scenes are composed; it writes pictures, names and credits.
"""

import argparse
import io
import json
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image

from sightline.data.scenes.atlas import ARTISTS

SPRITE = 128  # pixels a side
COLUMNS = 12
MARGIN = 2  # transparent pixels around a sprite, so that rotating it does not cut its edge
SHEET_QUALITY = 78

OPTIONAL = {"streamline-emojis"}  # a smaller set: a thing may lack a drawing by this artist

# One thing a line: icon name, Chinese measure word, then what differs from CLDR's names (en, plural, zh).
THINGS = {
    "animal": """
dog 只
cat 只
duck 只
rabbit 只
horse 匹
cow 头
pig 头
elephant 头
fish 条 plural=fish
butterfly 只
lion 只
frog 只
monkey 只
tiger 只
turtle 只 zh=乌龟
snake 条
penguin 只
bear 只
panda 只
fox 只
owl 只
honeybee 只 en=bee
spider 只
crab 只 zh=螃蟹
shark 条
mouse 只 plural=mice
snail 只
octopus 只
baby-chick 只 en=chick
koala 只
crocodile 条
spouting-whale 头 en=whale zh=鲸鱼
lady-beetle 只 en=ladybug
camel 头
bat 只
""",
    "food": """
red-apple 个 en=apple zh=苹果
banana 根
hamburger 个
pizza 块 zh=比萨饼
grapes 串 en=bunch|of|grapes plural=bunches|of|grapes
watermelon 块
strawberry 个
carrot 根
birthday-cake 个 en=cake zh=蛋糕
soft-ice-cream 个 en=ice|cream zh=冰淇淋
egg 个 zh=鸡蛋
mushroom 个
lemon 个
doughnut 个 en=donut
hot-dog 个
french-fries 盒 en=box|of|fries plural=boxes|of|fries
cookie 块
pineapple 个
pear 个 zh=梨子
lollipop 根
avocado 个 zh=牛油果
eggplant 个
croissant 个 zh=牛角包
hot-beverage 个 en=cup zh=杯子
wine-glass 个 zh=酒杯
beer-mug 杯
candy 颗 zh=糖果
""",
    "vehicle": """
automobile 辆 en=car zh=小汽车
bus 辆
bicycle 辆
airplane 架 en=plane
sailboat 艘
locomotive 列 en=train zh=火车
rocket 枚
helicopter 架
tractor 辆
""",
    "home": """
key 把
telephone 部
umbrella 把 zh=雨伞
bed 张
scissors 把 en=pair|of|scissors plural=pairs|of|scissors
open-book 本 en=book zh=书
light-bulb 个
camera 台 zh=照相机
hammer 把
pencil 支
laptop 台
door 扇
alarm-clock 个
candle 支
television 台 en=TV
bell 个
wrench 把
magnifying-glass-tilted-left 个 en=magnifying|glass zh=放大镜
bathtub 个
toilet 个
mobile-phone 部
envelope 个
paperclip 枚
microscope 台
telescope 台
hourglass-done 个 en=hourglass
kitchen-knife 把 en=knife plural=knives zh=刀
shopping-cart 辆
spoon 把 zh=勺子
thermometer 支
anchor 个 zh=船锚
bomb 枚
syringe 支
pill 颗
shield 面
""",
    "clothes": """
t-shirt 件 en=shirt zh=上衣
crown 顶
glasses 副 en=pair|of|glasses plural=pairs|of|glasses
dress 条
running-shoe 只 en=shoe zh=鞋子
jeans 条 en=pair|of|jeans plural=pairs|of|jeans
ring 枚
womans-hat 顶 en=hat zh=帽子
watch 块
backpack 个
handbag 个
top-hat 顶
high-heeled-shoe 只 en=high|heel
lipstick 支 zh=口红
""",
    "play": """
soccer-ball 个
guitar 把
balloon 个
wrapped-gift 个 en=gift
drum 面
basketball 个
trophy 座
microphone 个
trumpet 把
game-die 个 en=dice plural=dice
baseball 个
american-football 个 en=football zh=橄榄球
saxophone 把
ferris-wheel 座 en=Ferris|wheel
""",
    "nature": """
sun 个
deciduous-tree 棵 en=tree zh=大树
crescent-moon 个 en=moon zh=月亮
cloud 朵
house 座
rose 朵 zh=玫瑰花
snowman 个 plural=snowmen zh=雪人
rainbow 道
sunflower 朵
fire 团 en=flame
cactus 棵
palm-tree 棵
snowflake 片
christmas-tree 棵
maple-leaf 片 plural=maple|leaves
droplet 个 en=water|drop
gem-stone 颗 en=gem
four-leaf-clover 株 en=clover
jack-o-lantern 个 en=pumpkin
ghost 个 zh=幽灵
alien 个
castle 座 zh=城堡
eye 只
ear 只
""",
}

CHANGES = "rasterised from SVG, trimmed to a square, resized to 128 x 128 pixels, compressed as WebP"
TITLES = {
    "noto": "Noto Emoji",
    "noto-v1": "Noto Emoji, first design",
    "twemoji": "Twemoji",
    "fluent-emoji": "Fluent Emoji",
    "fluent-emoji-flat": "Fluent Emoji Flat",
    "emojione": "EmojiOne 2.3 (EmojiTwo)",
    "streamline-emojis": "Streamline Emojis",
    "openmoji": "OpenMoji",
}
LICENCES = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0")  # LICENSE-*.txt beside the sheets


def read_table():
    """The table's rows, one of each category in turn, so that the first N things are a mix."""
    rows_by_category = []
    for category, text in THINGS.items():
        rows = []
        for line in text.split("\n"):
            if line:
                icon, measure, *overrides = line.split(" ")
                named = dict(item.replace("|", " ").split("=") for item in overrides)
                rows.append({"category": category, "icon": icon, "zh_measure": measure, **named})
        rows_by_category.append(rows)
    return [row for row in chain.from_iterable(zip_longest(*rows_by_category)) if row]


def cldr_names(modules, language):
    path = modules / f"cldr-annotations-full/annotations/{language}/annotations.json"
    annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"]
    return {character: entry["tts"][0] for character, entry in annotations.items() if "tts" in entry}


def plural_of(noun):
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def name_things(modules):
    """things.json's rows: an explicit name where the table has one, CLDR's spoken name where not."""
    codepoints = json.loads((modules / "@iconify-json/noto/chars.json").read_text(encoding="utf-8"))
    codepoint_of = {icon: codepoint for codepoint, icon in codepoints.items()}
    english, chinese = cldr_names(modules, "en"), cldr_names(modules, "zh")
    things = []
    for row in read_table():
        codepoint = codepoint_of[row["icon"]]
        character = "".join(chr(int(part, 16)) for part in codepoint.split("-"))
        en = row.get("en", english[character])
        things.append(
            {
                "id": en.lower().replace(" ", "-"),
                "icon": row["icon"],
                "codepoint": codepoint,
                "category": row["category"],
                "en": en,
                "en_plural": row.get("plural", plural_of(en)),
                "zh": row.get("zh", chinese[character]),
                "zh_measure": row["zh_measure"],
            }
        )
    return things


class IconSet:
    """One artist's drawings."""

    def __init__(self, folder):
        self.icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
        self.info = json.loads((folder / "info.json").read_text(encoding="utf-8"))

    def svg(self, name, pixels):
        """The drawing as an SVG document, or None if the artist has not drawn it."""
        # Streamline numbers its variants; the first is as good as any.
        for candidate in (name, f"{name}-1"):
            alias = self.icons.get("aliases", {}).get(candidate, {})
            icon = self.icons["icons"].get(alias.get("parent", candidate))
            if icon:
                break
        else:
            return None
        width, height = (icon.get(side, self.icons.get(side, 16)) for side in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        view = f'viewBox="{left} {top} {width} {height}" width="{pixels}" height="{pixels}"'
        return f"<svg {namespaces} {view}>{icon['body']}</svg>"


def rasterise(svg):
    import resvg_py

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")


def sprite_of(svg):
    """A SPRITE x SPRITE picture: the drawing's visible part, centred, as large as the margin allows."""
    large = rasterise(svg)
    visible = large.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox()
    large = large.crop(visible)
    scale = (SPRITE - 2 * MARGIN) / max(large.size)
    size = tuple(max(1, round(side * scale)) for side in large.size)
    sprite = Image.new("RGBA", (SPRITE, SPRITE))
    small = large.resize(size, Image.Resampling.LANCZOS)
    sprite.paste(small, ((SPRITE - size[0]) // 2, (SPRITE - size[1]) // 2))
    return sprite


def build_sheet(artist, icon_set, things):
    """The artist's sheet; a missing drawing is noted in the thing's row and left transparent."""
    rows = -(-len(things) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SPRITE, rows * SPRITE))
    for index, thing in enumerate(things):
        svg = icon_set.svg(thing["icon"], 4 * SPRITE)
        if svg is None:
            if artist not in OPTIONAL:
                raise ValueError(f"{artist} has no drawing of {thing['icon']}")
            thing.setdefault("missing", []).append(artist)
            continue
        sheet.paste(sprite_of(svg), (index % COLUMNS * SPRITE, index // COLUMNS * SPRITE))
    return sheet


def write_credits(out, infos):
    lines = [
        "# Credits",
        "",
        "The drawings in this folder are other people's work. Each sheet keeps its artist's licence.",
        "",
        f"What was changed, in every sheet: {CHANGES}.",
        "At run time the drawings may also be rotated, mirrored, rescaled and recoloured.",
        "",
        "| sheet | work | author | source | licence | used for |",
        "|---|---|---|---|---|---|",
    ]
    for artist, info in infos.items():
        author, licence = info["author"], info["license"]
        assert licence["spdx"] in LICENCES
        text = f"[{licence['spdx']}](LICENSE-{licence['spdx']}.txt)"
        use = "testing only, never training" if artist == "openmoji" else "training and testing"
        lines.append(f"| `{artist}.webp` | {TITLES[artist]} | {author['name']} | {author['url']} | {text} | {use} |")
    lines += [
        "",
        "`openmoji.webp` is an adaptation of OpenMoji and itself under CC BY-SA 4.0, as that licence asks.",
        "`twemoji.webp`, `emojione.webp` and `streamline-emojis.webp` are under CC BY 4.0. The vectors",
        "come from the Iconify collection (https://github.com/iconify/icon-sets).",
        "",
        "The names in `things.json` are adapted from the Unicode CLDR annotations, under the",
        "[Unicode License v3](LICENSE-Unicode-3.0.txt) (https://cldr.unicode.org); some are replaced.",
    ]
    (out / "CREDITS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Rebuild the atlas of drawn things.")
    parser.add_argument("modules", type=Path, help="the node_modules folder that npm filled")
    default_out = Path(__file__).parents[1] / "src/sightline/assets/atlas"
    parser.add_argument("--out", type=Path, default=default_out, help="where the atlas goes")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    things, infos = name_things(arguments.modules), {}
    for artist in ARTISTS:
        icon_set = IconSet(arguments.modules / "@iconify-json" / artist)
        infos[artist] = icon_set.info
        sheet = build_sheet(artist, icon_set, things)
        sheet.save(arguments.out / f"{artist}.webp", quality=SHEET_QUALITY, alpha_quality=85, method=6)
    table = {"sprite": SPRITE, "columns": COLUMNS, "artists": ARTISTS, "things": things}
    text = json.dumps(table, ensure_ascii=False, indent=1)
    (arguments.out / "things.json").write_text(text + "\n", encoding="utf-8")
    write_credits(arguments.out, infos)
    unicode_licence = (arguments.modules / "cldr-annotations-full/LICENSE").read_text(encoding="utf-8")
    (arguments.out / "LICENSE-Unicode-3.0.txt").write_text(unicode_licence, encoding="utf-8")
    print(f"{len(things)} things, {sum(path.stat().st_size for path in arguments.out.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
