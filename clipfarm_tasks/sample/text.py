"""Titles and descriptions that a careless CSV reader stumbles over: line breaks, commas, quotes, emoji."""

from dataclasses import dataclass

import numpy as np

from clipfarm_tasks.sample.world import World, stream

QUERIES = (
    "street food",
    "guitar cover",
    "cat compilation",
    "home workout",
    "math trick",
    "makeup tutorial",
    "football skills",
    "diy shelf",
    "travel vlog",
    "speedrun",
    "book review",
    "latte art",
)
_OPENINGS = (
    "Wait for it",
    "You won't believe this",
    "POV: first day",
    "How to",
    'The "secret" of',
    "5 minutes,\nno tools:",
    "Почему",
    "東京で",
)
_ENDINGS = (
    "in one take",
    "like a pro",
    'they said "impossible"',
    "part 2, finally",
    "😂🔥",
    "❤️ #wow",
    "¿por qué?",
    "…",
)
_EMOJI = ("😂", "🔥", "❤️", "🎸", "🐈")
_TAGGED = 0.4
CLICKBAIT = ("won't believe", "secret", "impossible")


@dataclass(frozen=True)
class Texts:
    """Texts of the N videos and what was counted in them."""

    query: list[str]
    title: list[str]
    description: list[str]
    emoji_count: list[int]
    clickbait: list[bool]
    shorts_hashtag: list[bool]


def make_texts(world: World) -> Texts:
    """Texts of every video. The query follows the strongest latent factors, so it carries a little signal."""
    rng = stream(world.params, "texts")
    n = world.params.videos
    factors = world.factors[:, : len(QUERIES)] + rng.standard_normal((n, min(len(QUERIES), world.factors.shape[1])))
    query = [QUERIES[topic] for topic in factors.argmax(axis=1)]
    opening = rng.integers(0, len(_OPENINGS), n)
    ending = rng.integers(0, len(_ENDINGS), n)
    shorts_tag = (rng.random(n) < _TAGGED) & (world.hashtags > 0)
    title = [f"{_OPENINGS[a]} {q} {_ENDINGS[b]}" for a, q, b in zip(opening, query, ending, strict=True)]
    description = [
        _description(text, topic, count, tagged)
        for text, topic, count, tagged in zip(title, query, world.hashtags.tolist(), shorts_tag.tolist(), strict=True)
    ]
    return Texts(
        query=query,
        title=title,
        description=description,
        emoji_count=[sum(text.count(sign) for sign in _EMOJI) for text in title],
        clickbait=[any(word in text for word in CLICKBAIT) for text in title],
        shorts_hashtag=np.asarray(shorts_tag).tolist(),
    )


def _description(title: str, query: str, hashtags: int, shorts_tag: bool) -> str:
    tags = [f"#{query.replace(' ', '')}{number}" for number in range(hashtags)]
    if shorts_tag:
        tags[0] = "#Shorts"
    return f'{title}\n\nFollow for more, "daily", every day.\r\n{" ".join(tags)}'.strip()
