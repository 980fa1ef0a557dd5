"""The built-in world: endless pictures, questions and right answers, made when asked for and never stored.

Everything is a pure function of (seed, split, axis, index, arguments). The two splits draw from different random
streams, so no test picture is a training picture; and what an axis of the test holds out can only be had in the
test split. This file does not know models, tokens or training loops.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

from sightline.data.sample import Sample, sample_from
from sightline.data.scenes.atlas import ARTISTS, HELD_OUT_ARTIST, TRAIN_ARTISTS, check_name, choose_nouns
from sightline.data.scenes.conversing import conversation, independent, weighted_order
from sightline.data.scenes.exercises import random_exercise
from sightline.data.scenes.holdout import AXES
from sightline.data.scenes.language import LANGUAGES
from sightline.data.scenes.pictures import LAYOUTS, Picture, draw, random_picture, regions_of, tell
from sightline.data.scenes.questions import KINDS, Asking, Turn, ask
from sightline.data.scenes.regions import Regions
from sightline.data.scenes.stock import Stock
from sightline.data.scenes.vocabulary import vocabulary, word_splitter

__all__ = ["AXES", "LAYOUTS", "SPLITS", "World"]

SPLITS = ("train", "test")
# How often a picture has a layout, of those that are not `grid_share`.
LAYOUT_SHARES = {"single": 0.14, "two": 0.06, "scatter": 0.38, "grid": 0.14, "pair": 0.08}
LAYOUT_SHARES |= {"printed": 0.08, "digits": 0.04, "bars": 0.05, "pie": 0.03}
REGION_SHARES = {"single": 0.08, "two": 0.04, "scatter": 0.28, "grid": 0.46}
REGION_SHARES |= {"printed": 0.06, "digits": 0.03, "bars": 0.03, "pie": 0.02}
# Layouts that show what these axes hold out.
AXIS_LAYOUTS = {"font": ("printed", "bars", "pie"), "word": ("printed",)}
MOST_COUNTED = 5  # the counts that `question` spreads evenly, from 0
ATTEMPTS = 400  # pictures tried before a question is said not to fit


class World:
    """Pictures of drawn things, shapes, print and charts, with conversations about them.

    Args:
        seed: different seeds are different worlds.
        split: "train" or "test"; they never share a picture.
        artists: whose drawings are used; a training world refuses "openmoji". None: all but that one, or it
            alone on the axis "artist".
        things: which things there are: ids, or how many of the atlas's (None: all).
        languages: "en", "zh" or both; each conversation is in one of them.
        image_size: side of the pictures, in pixels.
        mix: relative weight of each kind of question (1.0 where not named).
        grid_share: share of `sample`'s and `questions`' pictures that are full grids to be read out, where `mix` lets
            them be.
        layouts: relative weight of each layout among the other pictures (as in LAYOUT_SHARES where not named), and
            among those of `regions` (as in REGION_SHARES).
        axis: what of the test training has never seen, one of AXES. "seen" is like training but for its
            pictures; the others ask about nothing but what is held out.

    Raises:
        ValueError: for an unknown split, artist, thing, language, kind, layout or axis, an empty choice, an
            image side below 8 pixels, or held-out artists or axes in the training split.
    """

    def __init__(
        self,
        seed: int = 0,
        split: str = "train",
        artists: Sequence[str] | None = None,
        things: Sequence[str] | int | None = None,
        languages: Sequence[str] = LANGUAGES,
        image_size: int = 224,
        mix: Mapping[str, float] | None = None,
        grid_share: float = 0.3,
        layouts: Mapping[str, float] | None = None,
        axis: str = "seen",
    ):
        self.seed, self.image_size, self.grid_share = seed, image_size, grid_share
        self.split, self.axis = check_name("split", split, SPLITS), check_name("axis", axis, AXES)
        if artists is None:
            artists = (HELD_OUT_ARTIST,) if axis == "artist" else TRAIN_ARTISTS
        self.artists = tuple(check_name("artist", artist, ARTISTS) for artist in artists)
        self.languages = tuple(check_name("language", language, LANGUAGES) for language in languages)
        self.mix = {check_name("kind", kind, KINDS): weight for kind, weight in (mix or {}).items()}
        shares = {check_name("layout", layout, LAYOUTS): share for layout, share in (layouts or {}).items()}
        self._shares = LAYOUT_SHARES | shares
        self._region_shares = REGION_SHARES | {key: share for key, share in shares.items() if key in REGION_SHARES}
        self._check()
        self._stock = Stock(choose_nouns(things, self.artists), self.artists, axis)
        # Every test reads digits that training has not seen: there are few enough to remember.
        self._unseen = [
            what for what in ("digit", "font", "word") if what == axis or (what, split) == ("digit", "test")
        ]
        self._layouts_of = {kind: asked for kind in KINDS if (asked := _layouts_of(kind, axis))}

    def _check(self) -> None:
        if self.split == "train" and HELD_OUT_ARTIST in self.artists:
            raise ValueError(f"{HELD_OUT_ARTIST!r} is the held-out artist: draw it with split='test' only")
        if self.split == "train" and self.axis != "seen":
            raise ValueError(f"the axis {self.axis!r} is held out of training: ask for it with split='test' only")
        if not self.artists or not self.languages:
            raise ValueError("a world needs at least one artist and one language")
        if self.image_size < 8:
            raise ValueError(f"a picture needs at least 8 pixels a side, not {self.image_size}")
        if not 0 <= self.grid_share <= 1:
            raise ValueError(f"grid_share is a share between 0 and 1, not {self.grid_share}")

    @property
    def things(self) -> tuple[str, ...]:
        """The ids of the things that this world can draw."""
        return self._stock.ids

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of question that this world asks: all, or those that concern what its axis holds out."""
        return tuple(self._layouts_of)

    def sample(
        self,
        index: int,
        *,
        layout: str | None = None,
        kinds: Sequence[str] | None = None,
        questions: int = 4,
    ) -> Sample:
        """Picture number `index` with up to `questions` different questions, a conversation in one language.

        With neither `layout` nor `kinds` given, `grid_share` of the pictures are grids with `list`. A dialogue
        is never one of several questions.

        Raises:
            ValueError: for an unknown layout or kind, no questions, or kinds that do not fit the layout.
        """
        picture, turns = self._conversation(index, layout, kinds, questions)
        return _sample(turns, draw(picture, self.image_size))

    def question(self, index: int, kind: str, language: str = "en") -> tuple[Sample, str]:
        """Question number `index` of a kind, with a picture that suits it, and its answer: for evaluation.

        Of a dialogue, the answer is that of the last turn.

        Raises:
            ValueError: for an unknown kind or language, or a kind that the axis does not ask.
        """
        check_name("kind", kind, KINDS)
        check_name("language", language, LANGUAGES)
        rng = self._rng("question", index, kind, language)
        if kind not in self._layouts_of:
            raise ValueError(f"the axis {self.axis!r} does not ask {kind!r}, only: {', '.join(self.kinds)}")
        # Even counts make a test that guessing fails; a small vocabulary may not have them all.
        wanted = rng.randrange(MOST_COUNTED + 1) if KINDS[kind].counts and self.axis != "count" else None
        for attempt in range(ATTEMPTS):
            picture = self._draw_lots(rng, rng.choice(self._layouts_of[kind]))
            asking = Asking(rng, language, self.axis, wanted if attempt < ATTEMPTS // 2 else None)
            if turns := ask(kind, picture, asking):
                return _sample(turns, draw(picture, self.image_size)), turns[-1][1]
        raise ValueError(f"no picture of this world suits the question {kind!r}")

    def questions(self, index: int, count: int) -> list[Sample]:
        """Picture number `index` with up to `count` conversations about it, each independent of the others.

        All share one and the same `images` list. The kinds differ as far as the picture allows, in the
        proportions of `mix`; each conversation is in a language of its own.

        Raises:
            ValueError: if `count` is not positive, or no kind of positive weight suits any picture.
        """
        picture, conversations = self._asked(self._rng("questions", index), self.languages, count)
        images = draw(picture, self.image_size)
        return [_sample(turns, images) for turns in conversations]

    def text_questions(self, index: int, count: int) -> list[Sample]:
        """As `questions`, without a picture: a text part that tells it in words, the same in all, comes first.

        Raises:
            ValueError: as `questions`.
        """
        rng = self._rng("text questions", index)
        language = rng.choice(self.languages)
        picture, conversations = self._asked(rng, (language,), count)
        return _told(tell(picture, rng, language), conversations)

    def exercises(self, index: int, count: int) -> list[Sample]:
        """List number `index`, in text alone, with up to `count` questions that it answers, in one language.

        As in `text_questions`, a text part that is the same in all comes first. See `random_exercise`.

        Raises:
            ValueError: if `count` is not positive, or names answer no kind of positive weight.
        """
        if count < 1:
            raise ValueError(f"a list has at least one question, not {count}")
        rng = self._rng("exercises", index)
        layouts = [layout for layout, share in self._shares.items() if share > 0]
        asking = Asking(rng, rng.choice(self.languages), self.axis)
        mix = {kind: self.mix.get(kind, 1.0) for kind in self.kinds}
        told, turns = random_exercise(self._stock, asking, count, mix, layouts)
        return _told(told, [[turn] for turn in turns])

    def regions(self, index: int, placed: bool = False, languages: Sequence[str] | None = None) -> Regions:
        """Picture number `index` with a box and an exact name for every object, in one language.

        `placed` names the place as well, where an object has one: "a duck at the top left". With `languages`, each
        box is named in all of these, one after the other.
        """
        if not any(self._region_shares.values()):
            raise ValueError(
                f"pictures of regions have one of the layouts {', '.join(self._region_shares)}: give one weight"
            )
        rng = self._rng("regions", index)
        picture = self._draw_lots(rng, rng.choices(tuple(self._region_shares), tuple(self._region_shares.values()))[0])
        named = languages or [rng.choice(self.languages)]
        state = rng.getstate()  # the boxes are chosen alike in every language
        texts = []
        for language in named:
            rng.setstate(state)
            boxes, names = zip(*regions_of(picture, rng, language, placed), strict=True)
            texts.append(names)
        image = draw(picture, self.image_size)[0]
        return Regions(image, list(boxes), [" ".join(names) for names in zip(*texts, strict=True)])

    def texts(self, count: int) -> Iterator[str]:
        """Text to train a tokenizer on: every name and fixed phrasing that training sees, then `count` undrawn
        conversations.

        It comes in pieces that no token should reach across: between Chinese words there is no space to say so.
        """
        split = word_splitter(self._stock.ids)
        for language in self.languages:
            for text in vocabulary(self._stock.ids, language):
                yield from split(text)
        for index in range(count):
            for turn in self._conversation(index, None, None, 6)[1]:
                for text in turn:
                    yield from split(text)

    def _rng(self, *key: object) -> random.Random:
        # A string seed is hashed with SHA-512, the same on every machine and Python version.
        return random.Random(":".join(map(str, ("sightline", self.split, self.axis, self.seed, *key))))

    def _draw_lots(self, rng: random.Random, layout: str) -> Picture:
        return random_picture(rng, layout, self._stock, self._unseen)

    def _asked(self, rng: random.Random, languages: Sequence[str], count: int) -> tuple[Picture, list[list[Turn]]]:
        """A picture, and the conversations about it, of which there is at least one."""
        if count < 1:
            raise ValueError(f"a picture has at least one question, not {count}")
        wanted = self._wanted()
        for _ in range(ATTEMPTS):
            picture = self._draw_lots(rng, "grid" if self._is_grid(rng) else self._layout(rng, wanted))
            order = weighted_order(rng, [kind for kind in wanted if picture.layout in self._layouts_of[kind]], self.mix)
            if found := independent(picture, Asking(rng, languages[0], self.axis), languages, order, count):
                return picture, found
        raise ValueError(f"no picture suits the questions that are asked, {', '.join(wanted)}: let `mix` have others")

    def _is_grid(self, rng: random.Random) -> bool:
        return "list" in self._wanted() and rng.random() < self.grid_share

    def _conversation(
        self, index: int, layout: str | None, kinds: Sequence[str] | None, questions: int
    ) -> tuple[Picture, list[Turn]]:
        if layout is not None:
            check_name("layout", layout, LAYOUTS)
        wanted = [check_name("kind", kind, KINDS) for kind in (self._wanted() if kinds is None else kinds)]
        if questions < 1:
            raise ValueError(f"a sample has at least one question, not {questions}")
        rng = self._rng("sample", index)
        language = rng.choice(self.languages)
        first = []
        if layout is None and kinds is None and self._is_grid(rng):
            layout, first = "grid", ["list"]
        for _ in range(ATTEMPTS):
            picture = self._draw_lots(rng, layout or self._layout(rng, wanted))
            fitting = [
                kind for kind in wanted if picture.layout in self._layouts_of.get(kind, ()) and kind not in first
            ]
            order = first + weighted_order(rng, fitting, self.mix)
            if turns := conversation(picture, Asking(rng, language, self.axis), order, questions):
                return picture, turns
        raise ValueError(f"no question of kinds {wanted} fits the layout {layout!r}")

    def _wanted(self) -> list[str]:
        return [kind for kind in self.kinds if self.mix.get(kind, 1.0) > 0]

    def _layout(self, rng: random.Random, wanted: Sequence[str]) -> str:
        fitting = {layout for kind in wanted for layout in self._layouts_of.get(kind, ())}
        shares = {layout: self._shares[layout] for layout in LAYOUTS if layout in fitting}
        if not sum(shares.values()):
            raise ValueError(f"no layout of positive weight suits the kinds {', '.join(wanted) or 'none'}")
        return rng.choices(list(shares), list(shares.values()))[0]


def _layouts_of(kind: str, axis: str) -> tuple[str, ...]:
    """The layouts of which the kind is asked on the axis."""
    if axis == "seen":
        return KINDS[kind].layouts
    if axis not in KINDS[kind].axes:
        return ()
    allowed = AXIS_LAYOUTS.get(axis, LAYOUTS)
    return tuple(layout for layout in KINDS[kind].layouts if layout in allowed)


def _sample(turns: Sequence[Turn], images: Sequence = ()) -> Sample:
    return sample_from([question for question, _ in turns], [answer for _, answer in turns], images)


def _told(text: str, conversations: Sequence[Sequence[Turn]]) -> list[Sample]:
    """Conversations without a picture that all begin with the same text part."""
    told = {"type": "text", "text": text}
    samples = [_sample(turns) for turns in conversations]
    for sample in samples:
        sample["messages"][0]["content"].insert(0, told)
    return samples
