"""Prints the alarms of all stations, misses none, and prints none twice.

    python examples/consumer.py --host broker.example --state alarms.json

An example to start from: it needs paho-mqtt and nothing else. What a consumer has to do is here:

- Delivery is at least once. A station's ``sequence`` tells a repeat: what was seen is passed over.
- ``sequence`` has no gaps. What is skipped was lost on the way (a broker that was killed, or had
  more queued than it keeps), and is asked for with ``command/replay``.
- A replay can get lost in the same way. What is still missing after a while is asked for again.
- What was lost at the end leaves no gap to see. So everything after the last one seen is asked for
  whenever a station's ``status`` says online: it is retained, so that is also when this client
  connects.
- What was seen is written down before the broker is told so (paho acknowledges a message when
  ``on_message`` has returned): killed at any moment, it goes on where it was.
- A station whose journal was deleted, or replaced by an older one, gives numbers a second time. A
  number that was seen, of an image later than all that were seen, is no repeat: the book of that
  station is begun anew.
- Whoever may publish below a station's name can send anything. What can't be read is told and
  passed over: the broker would send it again at every start.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_PATIENCE = 2.0  # seconds without anything new before what is missing is asked for again


class Book:
    """What was seen of one station: up to which number, and which before it are missing."""

    def __init__(
        self, last: int = 0, missing: list[list[int]] | None = None, latest: str = ""
    ) -> None:
        self.last = last
        self.missing = [(first, end) for first, end in missing or []]
        """Ranges, both ends included."""
        self.latest = latest
        """When the latest image of all that were seen was judged."""

    def see(self, sequence: int) -> bool:
        """Whether this number is new. Begins with whichever number comes first."""
        if self.last and sequence > self.last + 1:
            self.missing.append((self.last + 1, sequence - 1))
        if sequence > self.last:
            self.last = sequence
            return True
        for place, (first, end) in enumerate(self.missing):
            if first <= sequence <= end:
                rest = [(first, sequence - 1), (sequence + 1, end)]
                self.missing[place : place + 1] = [part for part in rest if part[0] <= part[1]]
                return True
        return False

    def expect(self, last: int) -> None:
        """The station has everything up to this number."""
        if last > self.last:
            self.missing.append((self.last + 1, last))
            self.last = last

    def give_up(self, first: int, end: int) -> int:
        """The station keeps nothing from ``first`` to ``end``: how many are lost for good."""
        before, kept = self._count(), []
        for start, stop in self.missing:
            kept += [(start, min(stop, first - 1)), (max(start, end + 1), stop)]
        self.missing = [part for part in kept if part[0] <= part[1]]
        return before - self._count()

    def _count(self) -> int:
        return sum(end - first + 1 for first, end in self.missing)


class Consumer:
    def __init__(self, options: argparse.Namespace) -> None:
        self._root = options.root
        self._state = options.state
        self._name = options.client_id
        written = json.loads(self._state.read_text()) if self._state.exists() else {}
        self._books = {station: Book(**book) for station, book in written.items()}
        self._moved = dict.fromkeys(self._books, time.monotonic())
        """When something was last asked of a station, or new from there."""
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if options.username:
            password = Path(options.password_file).read_text().strip()
            client.username_pw_set(options.username, password)
        if options.ca_file:
            client.tls_set(options.ca_file)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 7 * 86_400  # the broker queues while we are away
        # The broker may come later than we do: ``run`` connects, again and again.
        client.connect_async(options.host, options.port, clean_start=False, properties=session)

    def run(self) -> None:
        told = ""
        while True:
            if self._client.loop(timeout=1.0) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                time.sleep(1.0)
                try:
                    self._client.reconnect()
                except OSError as error:
                    if str(error) != told:
                        told = str(error)
                        say(f"no connection: {told}")
            for station, book in self._books.items():
                if book.missing and time.monotonic() > self._moved[station] + _PATIENCE:
                    self._ask_all(station)

    def _on_connect(self, client: Client, _user: Any, _flags: Any, code: Any, _: Any) -> None:
        if code.is_failure:
            say(f"the broker says no: {code}")
            return
        station = f"{self._root}/+/+/+"
        client.subscribe([(f"{station}/{what}", 1) for what in ("verdict", "status", "reply")])

    def _on_message(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        station, what = message.topic.rsplit("/", 1)
        try:
            content = json.loads(message.payload or b"{}")  # empty: a retained status was deleted
            if what == "verdict":
                self._on_verdict(station, content)
            elif what == "status" and content.get("online") and station in self._books:
                self._ask_all(station)
            elif what == "reply" and station in self._books:
                self._on_reply(station, content, message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"NOT READ {message.topic}: {error!r}")

    def _on_verdict(self, station: str, verdict: dict[str, Any]) -> None:
        sequence, kind, completed = verdict["sequence"], verdict["verdict"], verdict["completed"]
        why = verdict["reason"] or f"score {verdict['score']}"
        alarm = f"{kind.upper()} {station} #{sequence} {verdict['image']['name']}: {why}"
        book = self._books.setdefault(station, Book())
        before = len(book.missing)
        if not book.see(sequence):
            if not book.latest or completed <= book.latest:
                return  # a repeat
            say(f"ANEW {station}: it counts from a lower number again, asking for all it keeps")
            book = self._books[station] = Book(sequence, [[1, sequence - 1]] * (sequence > 1))
            before = 0
        book.latest = max(book.latest, completed)
        self._moved[station] = time.monotonic()
        if kind != "ok":
            say(alarm)
        self._write()
        if len(book.missing) > before and sequence == book.last:
            first, end = book.missing[-1]
            say(f"GAP {station}: {first} to {end} did not come, asking for them")
            self._ask(station, first, end)

    def _ask_all(self, station: str) -> None:
        """For everything that is missing, and everything after the last one seen."""
        book = self._books[station]
        for first, end in book.missing:
            self._ask(station, first, end)
        self._ask(station, book.last + 1)

    def _ask(self, station: str, first: int, end: int | None = None) -> None:
        self._moved[station] = time.monotonic()
        how = Properties(PacketTypes.PUBLISH)
        how.CorrelationData = f"{self._name} {first} {end or 0}".encode()
        body = json.dumps({"from": first, "to": end})
        self._client.publish(f"{station}/command/replay", body, qos=1, properties=how)

    def _on_reply(self, station: str, reply: dict[str, Any], message: MQTTMessage) -> None:
        asked = getattr(message.properties, "CorrelationData", b"").decode(errors="replace")
        name, *numbers = asked.rsplit(" ", 2)
        detail, book = reply["detail"], self._books[station]
        if name != self._name or "newest" not in detail:
            return  # another one's, or it could not be done: it is asked for again
        first, end = map(int, numbers)
        end = min(end or detail["newest"], detail["newest"])
        book.expect(end)
        if detail.get("more"):  # one replay has a limit
            self._ask(station, detail["last"] + 1, end)
            end = detail["last"]
        # Of what was asked for, this is what comes; the rest is no longer there.
        come = detail.get("first", end + 1), detail.get("last", end)
        lost = book.give_up(first, come[0] - 1) + book.give_up(come[1] + 1, end)
        if lost:
            say(f"LOST {station}: {lost} messages from {first} to {end} are no longer kept there")
        self._write()

    def _write(self) -> None:
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps({name: vars(book) for name, book in self._books.items()}))
        partial.replace(self._state)


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--root", default="inspection", help="as in the stations' [mqtt]")
    parser.add_argument("--client-id", default="alarms", help="one for each consumer")
    parser.add_argument("--state", type=Path, default=Path("alarms.json"))
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--ca-file", help="the broker's authority; turns TLS on")
    consumer = Consumer(parser.parse_args())
    try:
        consumer.run()
    except KeyboardInterrupt:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
