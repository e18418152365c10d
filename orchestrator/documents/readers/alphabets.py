"""How well a text fits the alphabet of some language: tells apart encodings that give letters to the same bytes. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

WEIGHED: Final = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1257", "iso8859_2", "cp1255", "cp1256", "iso8859_5", "cp866", "koi8_u",
)  # fmt: skip
"""Encodings of one byte a character; of those that fit equally well the first is taken."""

_LATIN: Final = (
    "äöüß", "àâæçéèêëîïôùûœ", "áéíóúñü¿¡ºª", "áâãàçéêíóôõúºª", "àèéìíòóùú", "ëïéèöüáóê", "æøåéö", "åäöé", "áéíóúýþæöð",
    "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž", "çğıöşüâîû", "ąčęėįšųūž", "āčēģīķļņšūž",
    "äõöüšž",
)  # fmt: skip
"""The letters beyond ASCII of the languages that are written in Latin letters."""
_OTHER: Final = {
    "оеаинтсрвл": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
    "αοιετσνηυρ": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
    "יוהלארמתבשם": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "اليمنورتبة": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژگ",
}
"""The most frequent letters of Russian, Greek, Hebrew and Arabic, with all of them."""
FREQUENT: Final = {
    "gb18030": "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经天今很好去票金额",
    "big5": "的一是在不了有和人這中大為上個國我以要他時來用們生到作地於出就分對成會可主發年動同工也能下過子說產種面而方後多定行學法所民得經天今很好去票金額",
    "cp949": "이다는의에하고가을를은들지로한도서어기사리그아시나자인대해수있과스라장부정원니습오날제일안요세계보만주구전동상년것에게으까했합",
}
"""Characters that are frequent in Chinese, in its simplified and its traditional form, and in Korean: some of them are in every sentence."""
_SIGNS: Final = frozenset("\u00a0€„“”‘’–—…«»°§·•×±©®™£½²³´`")

_HIGH: Final = re.compile("[^\x00-\x7f]")
_LETTER: Final = re.compile(r"[^\W\d_\x00-\x7f]")


def weight(text: str) -> float:
    """How well the characters beyond ASCII fit one language, at most 1 for each: rare or foreign ones, and signs within words, count less."""
    counts = Counter(_HIGH.findall(text))
    high = sum(counts.values())
    if not high:
        return 0.0
    letters = {one: number for one, number in counts.items() if one not in _SIGNS}
    signs = high - sum(letters.values())
    best = max(*(_latin(letters, alphabet) for alphabet in _LATIN), *(_other(letters, *one) for one in _OTHER.items()))
    return (best + 0.5 * signs - 2 * _misfits(text) - 3 * counts["\ufffd"]) / high


def familiar(text: str, encoding: str) -> float:
    """The share of a text's characters beyond ASCII that are frequent in the language of an encoding."""
    high = _HIGH.findall(text)
    return sum(one in FREQUENT[encoding] for one in high) / max(len(high), 1)


def _misfits(text: str) -> int:
    """Letters beyond ASCII where none of their kind stands: capitals after small ones, others beside Latin ones, any before a digit."""
    count = 0
    padded = f" {text} "
    for match in _LETTER.finditer(padded):
        letter, before, after = match[0], padded[match.start() - 1], padded[match.end()]
        is_latin = letter < "\u0250"
        count += (letter.isupper() and before.islower()) or after.isdigit()
        count += not is_latin and (_is_ascii_letter(before) or _is_ascii_letter(after))
    return count


def _is_ascii_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _latin(letters: Mapping[str, int], alphabet: str) -> float:
    return sum(count * (1 if letter.lower() in alphabet else -1) for letter, count in letters.items())


def _other(letters: Mapping[str, int], frequent: str, alphabet: str) -> float:
    def of(letter: str) -> float:
        return 1.0 if letter in frequent else 0.3 if letter in alphabet else -1.0

    return sum(count * of(letter.lower()) for letter, count in letters.items())
