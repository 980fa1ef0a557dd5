"""Rebuild the typefaces of printed words and charts in src/sightline/assets/fonts.

    npm install --prefix DIR @fontsource/roboto @fontsource/noto-serif @fontsource/roboto-mono \
        @fontsource/montserrat @fontsource/arvo @fontsource/patrick-hand @fontsource/oswald @fontsource/nunito \
        @fontsource/eb-garamond @fontsource/kalam
    python tools/build_fonts.py DIR/node_modules

It needs `pip install '.[assets]'` (fonttools). Each typeface becomes a TrueType file with the glyphs that the
world prints and nothing else, under a plain name of ours, as the licence asks of a changed font whose own name
is reserved. This file does not know what is printed.
"""

import argparse
import string
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

from sightline.data.scenes.fonts import FONTS

GLYPHS = string.ascii_letters + string.digits + " .,:;!?'\"-+%"
# Name, then the package, its weight and the typeface's own name.
SOURCES = {
    "sans": ("roboto", 400, "Roboto"),
    "serif": ("noto-serif", 400, "Noto Serif"),
    "mono": ("roboto-mono", 500, "Roboto Mono Medium"),
    "bold": ("montserrat", 800, "Montserrat ExtraBold"),
    "slab": ("arvo", 700, "Arvo Bold"),
    "hand": ("patrick-hand", 400, "Patrick Hand"),
    "condensed": ("oswald", 500, "Oswald Medium"),
    "rounded": ("nunito", 700, "Nunito Bold"),
    "garamond": ("eb-garamond", 500, "EB Garamond Medium"),
    "script": ("kalam", 400, "Kalam"),
}
FAMILY_NAME, STYLE_NAME, FULL_NAME, POSTSCRIPT_NAME = 1, 2, 4, 6  # ids in the OpenType name table
COPYRIGHT, LICENCE, LICENCE_URL = 0, 13, 14
KEPT_NAMES = (COPYRIGHT, LICENCE, LICENCE_URL)


def subset_font(source: Path, name: str) -> TTFont:
    """The typeface with GLYPHS only, without hinting or layout tables, called `Sightline NAME`."""
    options = subset.Options()
    options.hinting, options.layout_features, options.drop_tables = False, [], ["GSUB", "GPOS", "GDEF", "STAT"]
    options.name_IDs = list(KEPT_NAMES)
    font = TTFont(source)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=GLYPHS)
    subsetter.subset(font)
    font.flavor = None
    family = f"Sightline {name}"
    for identifier, text in (
        (FAMILY_NAME, family),
        (STYLE_NAME, "Regular"),
        (FULL_NAME, family),
        (POSTSCRIPT_NAME, family.replace(" ", "-")),
    ):
        font["name"].setName(text, identifier, 3, 1, 0x409)
    return font


def split_licence(package: Path) -> tuple[str, str]:
    """The copyright notice of the upright typeface, and the licence's text."""
    notice, _, text = (package / "LICENSE").read_text(encoding="utf-8").partition("\n\n")
    # The notice lists the files of the family; the first sentence is the typeface's own.
    words = notice.split()
    end = next((index for index, word in enumerate(words) if word.endswith(".ttf:")), len(words))
    return " ".join(words[:end]), text


def write_credits(out: Path, notices: dict[str, str]) -> None:
    lines = [
        "# Credits",
        "",
        "The typefaces in this folder are other people's work, under the",
        "[SIL Open Font License 1.1](LICENSE-OFL-1.1.txt).",
        "",
        "What was changed, in every file: reduced to Latin letters, digits and some punctuation, hinting and layout",
        "tables left out, saved as TrueType, renamed (the licence reserves some names for the unchanged typeface).",
        "",
        "| file | typeface | copyright | used for |",
        "|---|---|---|---|",
    ]
    for name, notice in notices.items():
        use = "training and testing" if name in FONTS else "testing only, never training"
        lines.append(f"| `{name}.ttf` | {SOURCES[name][2]} | {notice} | {use} |")
    (out / "CREDITS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the world's typefaces.")
    parser.add_argument("modules", type=Path, help="the node_modules folder that npm filled")
    default_out = Path(__file__).parents[1] / "src/sightline/assets/fonts"
    parser.add_argument("--out", type=Path, default=default_out, help="where the typefaces go")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    notices = {}
    for name, (package, weight, _) in SOURCES.items():
        folder = arguments.modules / "@fontsource" / package
        subset_font(folder / f"files/{package}-latin-{weight}-normal.woff", name).save(arguments.out / f"{name}.ttf")
        notices[name], licence = split_licence(folder)
        (arguments.out / "LICENSE-OFL-1.1.txt").write_text(licence.lstrip(), encoding="utf-8")
        print(f"{name}: {(arguments.out / f'{name}.ttf').stat().st_size:,} bytes")
    write_credits(arguments.out, notices)


if __name__ == "__main__":
    main()
