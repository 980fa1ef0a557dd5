"""The built-in world: endless pictures, questions and right answers, made when asked for and never stored.

Everything is a pure function of (seed, split, index, arguments). The two splits draw from different random
streams, so no test scene is a training scene; and the held-out artist can only be drawn in the test split.
This file does not know models, tokens or training loops.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

from sightline.data.sample import Sample, sample_from
from sightline.data.scenes.atlas import ARTISTS, HELD_OUT_ARTIST, TRAIN_ARTISTS, check_name, nouns
from sightline.data.scenes.language import COLOUR_WORDS, LANGUAGES, PLACES, indefinite, plural, sentence
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.questions import KINDS, LAYOUTS_OF, ask
from sightline.data.scenes.render import render
from sightline.data.scenes.scene import COLOURS, LAYOUTS, SHAPES, Identity, Scene, random_scene

__all__ = ["SPLITS", "World"]

SPLITS = ("train", "test")
LAYOUT_SHARES = {"single": 0.2, "scatter": 0.6, "grid": 0.2}  # of the pictures that are not `grid_share`
ATTEMPTS = 200  # scenes tried before a question is said not to fit

Turn = tuple[str, str]


class World:
    """Pictures of drawn things and shapes, with conversations about them.

    Args:
        seed: different seeds are different worlds.
        split: "train" or "test"; they never share a scene.
        artists: whose drawings are used; a training world refuses "openmoji".
        things: which things there are: ids, or how many of the atlas's (None: all).
        languages: "en", "zh" or both; each conversation is in one of them.
        image_size: side of the pictures, in pixels.
        mix: relative weight of each kind of question in `sample` (1.0 where not named).
        grid_share: share of `sample`'s pictures that are full grids to be read out (the `list` question).

    Raises:
        ValueError: for an unknown split, artist, thing, language or kind, an empty choice, an image side
            below 8 pixels, or the held-out artist in the training split.
    """

    def __init__(
        self,
        seed: int = 0,
        split: str = "train",
        artists: Sequence[str] = TRAIN_ARTISTS,
        things: Sequence[str] | int | None = None,
        languages: Sequence[str] = LANGUAGES,
        image_size: int = 224,
        mix: Mapping[str, float] | None = None,
        grid_share: float = 0.3,
    ):
        self.seed, self.image_size, self.grid_share = seed, image_size, grid_share
        self.split = check_name("split", split, SPLITS)
        self.artists = tuple(check_name("artist", artist, ARTISTS) for artist in artists)
        self.languages = tuple(check_name("language", language, LANGUAGES) for language in languages)
        self.mix = {check_name("kind", kind, KINDS): weight for kind, weight in (mix or {}).items()}
        self._nouns = self._choose(things)
        if split == "train" and HELD_OUT_ARTIST in self.artists:
            raise ValueError(f"{HELD_OUT_ARTIST!r} is the held-out artist: draw it with split='test' only")
        if not self.artists or not self.languages:
            raise ValueError("a world needs at least one artist and one language")
        if image_size < 8:
            raise ValueError(f"a picture needs at least 8 pixels a side, not {image_size}")
        if not 0 <= grid_share <= 1:
            raise ValueError(f"grid_share is a share between 0 and 1, not {grid_share}")

    @property
    def things(self) -> tuple[str, ...]:
        """The ids of the things that this world can draw."""
        return tuple(noun.id for noun in self._nouns)

    def sample(
        self,
        index: int,
        *,
        layout: str | None = None,
        kinds: Sequence[str] | None = None,
        questions: int = 4,
    ) -> Sample:
        """Picture number `index` with up to `questions` different questions, a conversation in one language.

        With neither `layout` nor `kinds` given, `grid_share` of the pictures are grids with `list`.

        Raises:
            ValueError: for an unknown layout or kind, no questions, or kinds that do not fit the layout.
        """
        scene, turns = self._conversation(index, layout, kinds, questions)
        return sample_from(
            [question for question, _ in turns],
            [answer for _, answer in turns],
            [render(scene, self.image_size)],
        )

    def question(self, index: int, kind: str, language: str = "en") -> tuple[Sample, str]:
        """Question number `index` of a kind, with a picture that suits it, and its answer: for evaluation.

        Raises:
            ValueError: for an unknown kind or language.
        """
        check_name("kind", kind, KINDS)
        check_name("language", language, LANGUAGES)
        rng = self._rng("question", index, kind, language)
        for _ in range(ATTEMPTS):
            scene = self._scene(rng, rng.choice(LAYOUTS_OF[kind]))
            if turn := ask(kind, scene, rng, language):
                return sample_from(*turn, [render(scene, self.image_size)]), turn[1]
        raise ValueError(f"no scene of this world suits the question {kind!r}")

    def texts(self, count: int) -> Iterator[str]:
        """Text to train a tokenizer on: every name and fixed phrasing, then `count` undrawn conversations."""
        for language in self.languages:
            yield from self._vocabulary(language)
        for index in range(count):
            for turn in self._conversation(index, None, None, 6)[1]:
                yield from turn

    def _vocabulary(self, language: str) -> Iterator[str]:
        identities: list[Identity] = [("thing", thing) for thing in self.things]
        identities += [("shape", colour, shape) for colour in COLOURS for shape in SHAPES]
        for identity in identities:
            yield sentence(indefinite(identity, language), language)
            yield plural(identity, language)
        yield from COLOUR_WORDS[language].values()
        yield from (sentence(place, language) for row in PLACES[language] for place in row)
        # Phrasings with a field to fill appear, filled, in the conversations.
        yield from (text for kind in PHRASINGS.values() for text in kind[language] if "{" not in text)

    def _choose(self, things: Sequence[str] | int | None):
        if isinstance(things, int):
            if not 1 <= things <= len(nouns()):
                raise ValueError(f"things: {things} asked for, but the atlas has 1 to {len(nouns())}")
            chosen = nouns()[:things]
        elif things is None:
            chosen = nouns()
        else:
            by_id = {noun.id: noun for noun in nouns()}
            chosen = tuple(by_id[check_name("thing", thing, by_id)] for thing in dict.fromkeys(things))
        # A small set of artists may not have drawn everything.
        chosen = tuple(noun for noun in chosen if set(self.artists) - set(noun.missing))
        if not chosen:
            raise ValueError(f"none of the things asked for is drawn by {', '.join(self.artists) or 'no artist'}")
        return chosen

    def _rng(self, *key: object) -> random.Random:
        # A string seed is hashed with SHA-512, the same on every machine and Python version.
        return random.Random(":".join(map(str, ("sightline", self.split, self.seed, *key))))

    def _scene(self, rng: random.Random, layout: str) -> Scene:
        # Half of the pictures have few repeats, so that most names are unique; half have many, to count.
        repeat = rng.choice((0.0, 0.5))
        return random_scene(rng, layout, things=self._nouns, artists=self.artists, repeat=repeat)

    def _conversation(
        self, index: int, layout: str | None, kinds: Sequence[str] | None, questions: int
    ) -> tuple[Scene, list[Turn]]:
        if layout is not None:
            check_name("layout", layout, LAYOUTS)
        wanted = [check_name("kind", kind, KINDS) for kind in (KINDS if kinds is None else kinds)]
        if questions < 1:
            raise ValueError(f"a sample has at least one question, not {questions}")
        rng = self._rng("sample", index)
        language = rng.choice(self.languages)
        first = []
        if layout is None and kinds is None and rng.random() < self.grid_share:
            layout, first = "grid", ["list"]
        for _ in range(ATTEMPTS):
            scene = self._scene(rng, layout or self._layout(rng, wanted))
            fitting = [kind for kind in wanted if scene.layout in LAYOUTS_OF[kind] and kind not in first]
            order = first + self._shuffle(rng, fitting)
            if turns := _turns(scene, rng, language, order, questions):
                return scene, turns
        raise ValueError(f"no question of kinds {wanted} fits the layout {layout!r}")

    def _layout(self, rng: random.Random, wanted: Sequence[str]) -> str:
        layouts = [layout for layout in LAYOUTS if any(layout in LAYOUTS_OF[kind] for kind in wanted)]
        return rng.choices(layouts, [LAYOUT_SHARES[layout] for layout in layouts])[0]

    def _shuffle(self, rng: random.Random, kinds: Sequence[str]) -> list[str]:
        """The kinds in a random order, heavier ones tending to come first, those of weight zero left out."""
        # Sampling without replacement by sorting u^(1/weight) (Efraimidis and Spirakis, 2006).
        weights = {kind: self.mix.get(kind, 1.0) for kind in kinds}
        keys = {kind: rng.random() ** (1 / weight) for kind, weight in weights.items() if weight > 0}
        return sorted(keys, key=keys.__getitem__, reverse=True)


def _turns(scene: Scene, rng: random.Random, language: str, order: Sequence[str], questions: int) -> list[Turn]:
    """Different questions, of as many kinds as there are, in random order."""
    turns: dict[str, str] = {}
    # Kinds whose wording alone varies are asked once; the others may come again about another object.
    again = [kind for kind in order if kind not in ("name", "list", "describe", "count_all")]
    for kind in [*order, *again]:
        if len(turns) == questions:
            break
        if turn := ask(kind, scene, rng, language):
            turns.setdefault(*turn)
    shuffled = list(turns.items())
    rng.shuffle(shuffled)
    return shuffled
