"""The publisher: one thread that drains the outbox to the broker, whatever the broker does."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from edge_agent.mqtt.backoff import Backoff
from edge_agent.mqtt.reasons import dropped_in_a_row
from edge_agent.publish.commands import Commands
from edge_agent.publish.session import TICK, Session
from edge_agent.publish.shared import Shared, Stop
from edge_agent.publish.state import STOPPED, Board, PublisherState
from edge_agent.system.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.mqtt.options import MqttOptions
    from edge_agent.publish.announcements import Announcements
    from edge_agent.publish.commands import Command
    from edge_agent.publish.drain import Outbox
    from edge_agent.publish.topics import Topics

log = logging.getLogger(__name__)

# The part of the time for stopping that is kept for saying farewell.
_FAREWELL = 0.25
# So many short connections in a row are no accident.
_SUSPICIOUS = 3


class Publisher:
    """At least once, in order, and never dropped: a row is done when the broker says success.

    A row that the broker refuses stays in the outbox. Publishing pauses, tries that row again
    with back-off, and goes on from there: the order is kept, and ``state().reason`` says why.
    """

    def __init__(
        self,
        options: MqttOptions,
        topics: Topics,
        outbox: Callable[[], Outbox],
        outbox_error: type[Exception],
        *,
        commands: Mapping[str, Command[Any]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            options: how to reach the broker.
            topics: where to publish.
            outbox: opens the outbox, in the publisher's thread.
            outbox_error: what the outbox raises when its storage fails.
            commands: what to obey besides ``replay``; None: no command at all.
            clock: wall clock, for `PublisherState`.
        """
        self._options = options
        self._topics = topics
        self._open_outbox = outbox
        self._outbox_error = outbox_error
        self._wake = Wake()
        self._commands = None if commands is None else Commands(commands, self._wake.set)
        self._stop = Stop()
        self._announcements: Announcements
        self._board = Board(f"connecting to {options.broker} for the first time", clock)
        # Daemon: a name server that doesn't answer can hold it for longer than anyone waits.
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self, announcements: Announcements) -> None:
        """Begin, in a thread of its own. An absent broker is nothing special.

        Args:
            announcements: what to say on ``status`` and ``telemetry``.
        """
        self._announcements = announcements
        self._thread.start()

    def notify(self) -> None:
        """The journal has committed something new. Cheap, from any thread."""
        self._wake.set()

    def state(self) -> PublisherState:
        """How it goes; from any thread."""
        return self._board.state

    def stop(self, timeout: float) -> bool:
        """Flush what can be flushed, say farewell, disconnect. The rest stays in the outbox.

        Returns:
            Whether the thread ended in time.
        """
        now = time.monotonic()
        self._stop.flush_until = now + timeout * (1 - _FAREWELL)
        self._stop.until = now + timeout
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout + TICK)
            if self._thread.is_alive():
                return False
        self._wake.close()
        return True

    def _run(self) -> None:
        pauses = Backoff(self._options.reconnect_min, self._options.reconnect_max)
        while not self._stop.wanted:
            try:
                with closing(self._open_outbox()) as outbox:
                    self._stay_connected(outbox, pauses)
            except self._outbox_error as error:
                self._board.say(str(error), connected=False)
            except Exception as error:  # a station runs for years: log it and begin again
                log.exception("the publisher failed and restarts")
                self._board.say(f"unexpected failure, see the log: {error!r}", connected=False)
            self._pause(pauses.next(), None)
        self._board.say(STOPPED, connected=False)

    def _stay_connected(self, outbox: Outbox, pauses: Backoff) -> None:
        shared = Shared(
            board=self._board,
            wake=self._wake,
            stop=self._stop,
            retries=Backoff(self._options.reconnect_min, self._options.reconnect_max),
            suspected=set(),
            outbox_error=self._outbox_error,
        )
        warning = ""
        drops = 0
        while not self._stop.wanted:
            began = time.monotonic()
            session = Session(
                self._options,
                self._topics,
                self._announcements,
                outbox,
                shared,
                commands=self._commands,
                warning=warning,
            )
            reason = session.run()
            if self._stop.wanted:
                return
            if time.monotonic() > began + 2 * self._options.reconnect_max:
                pauses.reset()
                drops = 0
            # Otherwise no reset: two clients with one id would throw each other out every second,
            # for ever.
            elif session.accepted:
                drops += 1
            if session.taken_over:
                warning = reason
            elif session.accepted and drops >= _SUSPICIOUS:
                warning = reason = dropped_in_a_row(self._options.broker, drops)
            self._board.say(reason, connected=False)
            self._pause(pauses.next(longest=session.taken_over), outbox)

    def _pause(self, seconds: float, outbox: Outbox | None) -> None:
        until = time.monotonic() + seconds
        while not self._stop.wanted and (left := until - time.monotonic()) > 0:
            if outbox is not None:
                self._board.count(outbox)
            self._wake.wait(min(left, TICK))
            self._wake.clear()
