"""The vocabulary of the scenes: objects with their code points, palette colours, sizes and positions.

The names were chosen by measuring: of 84 candidates those stayed that a reader trained on two drawing styles
recognises in the third, so that an independent judge can tell a good image from a bad one.
"""

from __future__ import annotations

# Singular name -> Unicode code point of its emoji, the same in all three drawing styles.
OBJECTS: dict[str, str] = {
    "apple": "1f34e", "banana": "1f34c", "strawberry": "1f353", "cherry": "1f352", "watermelon": "1f349",
    "eggplant": "1f346", "mushroom": "1f344", "donut": "1f369", "pizza": "1f355", "cupcake": "1f9c1",
    "ball": "26bd", "basketball": "1f3c0", "star": "2b50", "moon": "1f319", "sun": "2600-fe0f",
    "cloud": "2601-fe0f", "umbrella": "2602-fe0f", "snowman": "2603-fe0f", "fire": "1f525", "drop": "1f4a7",
    "palm": "1f334", "cactus": "1f335", "tulip": "1f337", "sunflower": "1f33b", "cat": "1f431",
    "dog": "1f436", "panda": "1f43c", "fox": "1f98a", "rabbit": "1f430", "ladybug": "1f41e",
    "car": "1f697", "plane": "2708-fe0f", "house": "1f3e0", "key": "1f511", "lock": "1f512",
    "crown": "1f451", "hat": "1f3a9", "trophy": "1f3c6", "guitar": "1f3b8", "heart": "2764-fe0f",
    "gem": "1f48e", "anchor": "2693", "book": "1f4d5", "camera": "1f4f7", "clock": "23f0",
    "pumpkin": "1f383", "skull": "1f480", "bear": "1f43b",
}  # fmt: skip

PLURALS: dict[str, str] = {
    "strawberry": "strawberries",
    "cherry": "cherries",
    "cactus": "cacti",
    "fox": "foxes",
}

# Objects that one plain colour word describes in the generator's drawing style.
COLOURS: dict[str, str] = {
    **dict.fromkeys(("apple", "strawberry", "cherry", "heart", "car", "book", "ladybug", "clock"), "red"),
    **dict.fromkeys(("banana", "star", "moon", "sun", "key", "sunflower", "crown"), "yellow"),
    **dict.fromkeys(("pumpkin", "basketball", "fox", "fire"), "orange"),
    **dict.fromkeys(("umbrella", "drop", "gem"), "blue"),
    "eggplant": "purple",
    "tulip": "pink",
    "hat": "black",
    "cactus": "green",
    "bear": "brown",
}

# Background name -> RGB. Far apart, so that the colour of a border pixel has one nearest name.
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (244, 244, 244),
    "gray": (128, 128, 128),
    "black": (16, 16, 16),
    "red": (176, 32, 40),
    "yellow": (248, 216, 72),
    "green": (40, 144, 72),
    "blue": (48, 88, 216),
    "purple": (120, 56, 176),
}

# Position name -> direction from the middle of the image, in units of the size's reach.
POSITIONS: dict[str, tuple[int, int]] = {
    "center": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}

SIZES: tuple[str, ...] = ("small", "large")
RELATIONS: tuple[str, ...] = ("left of", "above")
STYLES: tuple[str, ...] = ("noto", "twemoji", "fluent")


def plural(name: str) -> str:
    """The plural of an object's name."""
    return PLURALS.get(name, f"{name}s")


def with_article(noun: str) -> str:
    """The noun, or the words before it, after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
