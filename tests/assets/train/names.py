"""Invented names of people, places and firms from Faker, some for training and others held out."""

from __future__ import annotations

import random
import re
import zlib
from calendar import day_name, month_name

from faker import Faker

LOCALES = ["en_US", "en_GB"]
#: Words of four letters or more, without those that many names share.
_RARE = re.compile(r"\b(?!(?:North|South|East|West|Port|Lake|Saint|Bath|Group|Sons|Limited)\b)\w{4,}")
_SLOT = re.compile(r"\{(\w+)\}")


class Names:
    """Fills slots such as `{PER}` with invented values.

    Training and held-out names are told apart by their words: every held-out name has a rare word that no training name has.
    """

    def __init__(self, held_out: bool, seed: int = 0) -> None:
        self._held_out = held_out
        self.random = random.Random(2 * seed + held_out)
        self._faker = faker = Faker(LOCALES)
        faker.seed_instance(2 * seed + held_out)
        self._make = {
            "PER": lambda: f"{faker.first_name()} {faker.last_name()}",
            "LOC": faker.city,
            "ORG": faker.company,
        }

    def one(self, slot: str) -> str:
        """A name for PER, LOC or ORG, or a value for DATE, DAY, MONEY or COUNT; a digit tells slots of a kind apart."""
        kind = slot.rstrip("0123456789")
        if kind in self._make:
            while True:
                value = self._make[kind]()
                if not self._held_out and self.random.random() < 0.5:
                    value = _RARE.sub(self._cross, value)
                if any(zlib.crc32(word.encode()) % 5 == 0 for word in _RARE.findall(value)) == self._held_out:
                    return value
        return _VALUES[kind](self.random)

    def _cross(self, word: re.Match[str]) -> str:
        """The first half of a word with the second half of a surname: Faker's own names are soon learned by heart."""
        other = self._faker.last_name()
        return word[0][: len(word[0]) // 2 + 1] + other[len(other) // 2 :]

    def fill(self, template: str, values: dict[str, str]) -> str:
        """The template with its slots filled; `values` gains those that it lacked."""
        return _SLOT.sub(lambda match: values.setdefault(match[1], self.one(match[1])), template)


_VALUES = {
    "DATE": lambda rng: f"{rng.randint(1, 28)} {rng.choice(month_name[1:])} {rng.randint(1950, 2025)}",
    "DAY": lambda rng: rng.choice(day_name),
    "MONEY": lambda rng: (
        f"{rng.randint(2, 990)} {rng.choice(['thousand', 'million'])} {rng.choice(['dollars', 'euros'])}"
    ),
    "COUNT": lambda rng: str(rng.randint(3, 990)),
}
