"""What people call good and bad parts: names of folders, and words in tables."""

from __future__ import annotations

import re
import unicodedata

_OK = (
    "ok okay io inordnung good goods gut gutteil gutteile normal pass passed accept accepted "
    "fine flawless healthy intact undamaged clean perfect conforme conform conforming "
    "noanomaly nondefective nondefect nodefect nodefects notdefective defectfree faultless "
    "bon bueno buono 良 良品 合格"
)
_DEFECT = (
    "ng nok ko nio nonok nook notok notgood nogood nichtok nichtio nichtinordnung bad schlecht "
    "schlechtteil schlechtteile def defect defects defective defected defekt defekte defaut "
    "defectuoso difettoso anomaly anomalies anomalous abnormal fail failed failure failures "
    "reject rejects rejected fault faults faulty flaw flaws flawed fehler fehlerhaft "
    "damaged broken scrap ausschuss scarto nonconforme nonconform nonconforming "
    "mauvais malo cattivo 不良 不良品 不合格"
)
_YES = "1 1.0 true yes y ja si oui"
_NO = "0 0.0 false no n nein non"
_MASK = "mask masks gt groundtruth segmentation segmentations maske masken"
_BESIDE = "images image imgs img pictures photos pics bilder parts teile samples front back top"
"""May follow a word and change nothing: ok_images, def_front."""


def plain(name: str) -> str:
    """A name without case, accents, signs, a number before it or a noun behind it.

    "n.i.O." is nio, "Not-OK images" is notok, "1_Défaut" is defaut.
    """
    letters = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    parts = [part for part in re.split(r"[\W_]+", letters) if part]
    while len(parts) > 1 and parts[0].isdecimal() and not parts[-1].isdecimal():
        parts = parts[1:]
    while len(parts) > 1 and parts[-1] in _BESIDE_WORDS:
        parts = parts[:-1]
    return "".join(parts)


def folder_says(name: str) -> bool | None:
    """Whether a folder of this name holds defective images (True) or ok ones; None: neither."""
    return _FOLDERS.get(plain(name))


def cell_says(text: str) -> bool | None:
    """Whether a table's cell says defective (True) or ok; None: neither.

    Yes and true mean that it is defective: that is what the column asks.
    """
    said = _ANSWERS.get(text.strip().casefold())
    return folder_says(text) if said is None else said


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name holds masks."""
    return plain(name) in _MASKS


_BESIDE_WORDS = frozenset(_BESIDE.split())
_MASKS = frozenset(_MASK.split())
_FOLDERS = {
    **{plain(word): False for word in _OK.split()},
    **{plain(word): True for word in _DEFECT.split()},
}
_ANSWERS = {**dict.fromkeys(_YES.split(), True), **dict.fromkeys(_NO.split(), False)}
