"""What the station obeys on ``command/<name>``, and what it answers on ``reply``.

A command is JSON on a topic of its own; its answer carries the command's correlation data. Whatever
is wrong with a command is said in the answer: none is passed over in silence. Of one kind only so
many are obeyed a second: verdicts must not wait for whoever sends thousands. Those beyond are
counted, and one of them a second is told so.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.publish.allowance import Allowance
from edge_agent.system.forms import DIRECTORY, explained
from edge_agent.system.text import printable
from edge_agent.system.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.mqtt import Arrived

log = logging.getLogger(__name__)

MAX_COMMAND = 1 << 16
"""Bytes that a command may have."""
_AT_ONCE = 20  # commands of one kind,
_A_SECOND = 5  # and so many in the long run
_WAITING = 100  # answers that wait for the broker, beyond which no command is read
_QUIET = 10.0  # seconds without a command too many, after which that is over

Value = str | int | bool


class CommandBody(BaseModel):
    """A command's JSON. An unknown key is an error: a typo must not be obeyed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Nothing(CommandBody):
    """A command that needs no more than its name: ``{}``, or no payload at all."""


class ReplayBody(CommandBody):
    """``command/replay``: publish again what is kept, from one sequence number to another."""

    first: int = Field(alias="from", ge=1, description="the first sequence number wanted")
    last: int | None = Field(
        default=None, alias="to", ge=1, description="the last one; null: the newest there is"
    )


class BundleBody(CommandBody):
    """``command/bundle``: run another bundle, or the one before. One of the two."""

    activate: str | None = Field(
        default=None,
        max_length=200,
        pattern=DIRECTORY,
        description="its directory's name, beside the bundle that the settings name",
    )
    roll_back: bool = Field(default=False, description="run what ran before this one")
    name: str | None = Field(
        default=None,
        max_length=64,
        description="what the bundle is called, in its manifest: needed where the one that runs "
        "is called otherwise",
    )

    @model_validator(mode="after")
    def _one(self) -> BundleBody:
        if (self.activate is None) is not self.roll_back:
            raise ValueError('give either "activate" with a name, or "roll_back": true')
        return self


class ReplyMessage(BaseModel):
    """On ``reply``, with the command's correlation data."""

    model_config = ConfigDict(frozen=True)

    command: str = Field(description="its name, as it was sent; control characters escaped")
    ok: bool = Field(description="it was done")
    reason: str = Field(description="why it was not, and what to do; empty otherwise")
    detail: dict[str, Value] = Field(description="what the command has to say of what it did")


@dataclass(frozen=True)
class Reply:
    """An answer on its way out."""

    payload: bytes
    correlation: bytes | None


class Answer:
    """How a command says what came of it: once, now or later, from any thread."""

    def __init__(self, name: str, correlation: bytes | None, send: Callable[[Reply], None]) -> None:
        self._name = name
        self._correlation = correlation
        self._send = send

    def done(self, **detail: Value) -> None:
        """It was done."""
        results = ", ".join(f"{key}={value}" for key, value in detail.items())
        log.info("command %s: done%s", self._name, results and f", {results}")
        self._say("", detail, ok=True)

    def refused(self, reason: str, **detail: Value) -> None:
        """It was not done, and why."""
        log.warning("command %s rejected: %s", self._name, reason)
        self._say(reason, detail, ok=False)

    def _say(self, reason: str, detail: Mapping[str, Value], *, ok: bool) -> None:
        message = ReplyMessage(
            command=self._name, ok=ok, reason=printable(reason), detail=dict(detail)
        )
        self._send(Reply(message.model_dump_json().encode(), self._correlation))


Body = TypeVar("Body", bound=CommandBody)


@dataclass(frozen=True)
class Command(Generic[Body]):
    """One that the station knows."""

    body: type[Body]
    obey: Callable[[Body, Answer], None]
    """Called in the publisher's thread: it returns at once, and may answer later."""


class Commands:
    """Reads what arrives, and collects the answers."""

    def __init__(
        self,
        known: Mapping[str, Command[Any]],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is obeyed yet.

        Args:
            known: the commands by name.
            wake: called, from whatever thread answers, when there is an answer.
            clock: monotonic seconds.
        """
        self._known = dict(known)
        self._wake = wake
        self._clock = clock
        self._replies: deque[Reply] = deque()
        self._kinds: dict[str, _Kind] = {}
        self._flood = Trouble(log, "the rate of commands is normal again", level=logging.WARNING)
        self._flooded_at = clock()
        self.refused = 0
        """Commands that were not obeyed because too many came, since the start."""

    @property
    def trouble(self) -> str:
        """Why not all commands are obeyed, in words; empty while they are."""
        if self._clock() > self._flooded_at + _QUIET:
            self._flood.worked()
        return self._flood.text

    def obey(self, arrived: Arrived, below: str, own: Mapping[str, Command[Any]]) -> None:
        """Obey a message on ``{below}/<name>``, or answer what is wrong with it.

        Args:
            arrived: the message.
            below: the topic that all commands lie below.
            own: the connection's own commands, beside those that are always known.
        """
        name = printable(arrived.topic.removeprefix(below).lstrip("/"), 100)
        commands = {**self._known, **own}
        command = commands.get(name)
        answer = Answer(name, arrived.correlation, self._send)
        if not self._may_obey(name if command else "", answer):
            return
        if arrived.retained:
            answer.refused("it is a retained message of unknown age: send it without retain")
            return
        if arrived.refused:
            size = arrived.refused.bytes
            answer.refused(f"it has {size} bytes: a command has at most {MAX_COMMAND}")
            return
        if arrived.malformed:
            answer.refused(f"it is not valid MQTT: {arrived.malformed}")
            return
        if command is None:
            known = ", ".join(sorted(commands))
            answer.refused(f"unknown command; the commands are: {known}")
            return
        try:
            body = command.body.model_validate_json(arrived.payload or b"{}")
        except ValidationError as error:
            answer.refused("; ".join(_explain(detail) for detail in error.errors()[:5]))
            return
        command.obey(body, answer)

    def reply(self) -> Reply | None:
        """The next answer to be sent; None where there is none."""
        return self._replies.popleft() if self._replies else None

    def _may_obey(self, name: str, answer: Answer) -> bool:
        """Whether it is not one too many; ``name`` is empty for those that nobody knows."""
        if name not in self._kinds:
            self._kinds[name] = _Kind(
                Allowance(_AT_ONCE, _A_SECOND, self._clock), Allowance(1, 1, self._clock)
            )
        kind, room = self._kinds[name], len(self._replies) < _WAITING
        if room and kind.obeyed.take():
            return True
        self.refused += 1
        self._flooded_at = self._clock()
        which = f"{name} commands" if name else "unknown commands"
        self._flood.failed(
            f"more {which} arrive than the {_A_SECOND} a second that are accepted, and the rest "
            "are rejected: find out who sends them"
        )
        if room and kind.answered.take():
            unanswered, kind.unanswered = kind.unanswered, 0
            answer.refused(
                f"too many commands: {_A_SECOND} a second of one kind are accepted. This one was "
                f"rejected, and so were {unanswered} before it without a reply: send it again, and "
                "fewer"
            )
        else:
            kind.unanswered += 1
        return False

    def _send(self, reply: Reply) -> None:
        self._replies.append(reply)
        self._wake()


@dataclass
class _Kind:
    """What is known of the commands of one name."""

    obeyed: Allowance
    answered: Allowance
    """Of those that were one too many."""
    unanswered: int = 0
    """Of those, how many have got no answer since the last one that has."""


def _explain(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{place}: there is no such key"
    if detail["type"] == "missing":
        return f"{place}: is missing"
    if detail["type"] == "model_type":
        return "must be a JSON object"
    message = explained(detail)
    return f"{place}: {message}" if place else message
