"""The topics of a station, below ``{root}/{site}/{line}/{station}/``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Station:
    """Where this agent stands. Each name is one level of every topic."""

    site: str
    line: str
    station: str

    def __post_init__(self) -> None:
        for level in ("site", "line", "station"):
            _check(level, getattr(self, level))


@dataclass(frozen=True)
class Topics:
    """Every topic that the station publishes to or listens on."""

    status: str
    verdict: str
    defect: str
    telemetry: str
    command: str
    """Commands arrive below this one: ``command/replay``, ..."""
    reply: str

    def own(self, topic: str) -> bool:
        """Whether it lies below the station's name: nobody else's messages belong there."""
        return topic.startswith(self.status.removesuffix("status"))


def topics_of(station: Station, root: str = "inspection") -> Topics:
    """The station's topics; ``root`` may itself have several levels: ``factory/inspection``.

    Raises:
        ValueError: a level of ``root`` is empty or holds a character that topics reserve.
    """
    for level in root.split("/"):
        _check("root", level)
    base = f"{root}/{station.site}/{station.line}/{station.station}"
    return Topics(
        status=f"{base}/status",
        verdict=f"{base}/verdict",
        defect=f"{base}/defect",
        telemetry=f"{base}/telemetry",
        command=f"{base}/command",
        reply=f"{base}/reply",
    )


def _check(what: str, level: str) -> None:
    if not level:
        raise ValueError(f"{what} is empty: it is a level of the MQTT topics, give it a name")
    wrong = sorted({c for c in level if c in "+#/" or not c.isprintable()})
    if wrong:
        raise ValueError(
            f"{what} {level!r} holds {', '.join(map(repr, wrong))}: it is a level of the MQTT "
            "topics, which may not hold '+', '#', '/' or control characters"
        )
    if what == "root" and level.startswith("$"):
        raise ValueError(f"root {level!r} begins with '$', which brokers keep for themselves")
