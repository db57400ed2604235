"""The topic that images arrive on: a filter, whose levels may say what an image is."""

from __future__ import annotations

from dataclasses import dataclass, field

NAMES = frozenset({"camera", "id", "name", "captured"})
"""What a level may say."""


@dataclass(frozen=True)
class TopicPattern:
    """``cameras/{camera}/{id}``: a filter, with names in the place of some of its ``+``."""

    text: str
    filter: str = field(init=False)
    """As the broker takes it."""
    _plain: tuple[str, ...] = field(init=False)
    _levels: tuple[tuple[int, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check the whole.

        Raises:
            ValueError: no broker would take it, or a name is none of ``NAMES``.
        """
        share, levels = _split(self.text)
        named = tuple((n, level[1:-1]) for n, level in enumerate(levels) if _braced(level))
        names = [name for _, name in named]
        for number, level in enumerate(levels):
            last = number == len(levels) - 1
            if (level == "#" and not last) or (level not in ("#", "+") and set(level) & set("#+")):
                raise ValueError("+ and # stand for whole levels, and # is the last one")
            if set(level) & set("{}") and not _braced(level):
                raise ValueError("a name in braces stands for a whole level")
        for name in names:
            if name not in NAMES or names.count(name) > 1:
                known = ", ".join(sorted(NAMES))
                raise ValueError(f"{{{name}}}: a level may be called, once each: {known}")
        plain = ["+" if _braced(level) else level for level in levels]
        object.__setattr__(self, "filter", share + "/".join(plain))
        object.__setattr__(self, "_plain", tuple(plain))
        object.__setattr__(self, "_levels", named)

    def matches(self, topic: str) -> bool:
        """Whether messages on a topic come too (MQTT 5.0, 4.7); not for those that begin with $."""
        levels = topic.split("/")
        for number, level in enumerate(self._plain):
            if level == "#":
                return True
            if number >= len(levels) or level not in ("+", levels[number]):
                return False
        return len(levels) == len(self._plain)

    def read(self, topic: str) -> dict[str, str]:
        """What the levels of a message's topic say."""
        levels = topic.split("/")
        return {name: levels[n] for n, name in self._levels if n < len(levels)}


def _braced(level: str) -> bool:
    return level[:1] == "{" and level[-1:] == "}"


def _split(text: str) -> tuple[str, list[str]]:
    if not text or not text.isprintable() or len(text.encode()) > 65_535:
        raise ValueError("must be 1 to 65535 bytes without control characters")
    if not text.startswith("$share/"):
        return "", text.split("/")
    _, group, *levels = text.split("/")
    if not group or set(group) & set("#+{}") or not any(levels):
        raise ValueError("a shared topic is $share/GROUP/TOPIC, the group without wildcards")
    return f"$share/{group}/", levels
