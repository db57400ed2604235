"""A journal that is written by a process of its own, killed, and damaged: what is left of it?"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.journal import Journal, JournalError, Outbox
from tests.inspections import inspection, plain

# Says what is published, as soon as it may be: what an outside recorder would know.
_WRITER = """
import os, random, sys
from pathlib import Path
from edge_agent.journal import Journal, Outbox
from tests.inspections import inspection, plain
path, first, count, seed = Path(sys.argv[1]), *map(int, sys.argv[2:])
chance = random.Random(seed)
with Journal(path) as journal:
    outbox, after, number = Outbox(path), 0, first
    for loss in journal.losses:
        print("loss", loss, flush=True)
    while number < first + count:
        group = chance.choice([1, 1, 1, 5])
        journal.record([inspection(n) for n in range(number, number + group)], plain)
        number += group
        for message in outbox.pending(after, 1000):
            print("published", message.sequence, message.id, flush=True)
            after = message.sequence
        if chance.random() < 0.5:
            outbox.acknowledge([after])
    print("done", flush=True)
    sys.stdin.read()
"""


@dataclass
class Recorder:
    """Everything that was ever published, and everything that was said to be missing."""

    published: dict[int, set[str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    next: int = 0

    def run(self, journal: Path, count: int, seed: int) -> None:
        """Write so many inspections, then die by SIGKILL."""
        root = Path(__file__).parent.parent
        numbers = map(str, (self.next, count, seed))
        command = [sys.executable, "-c", _WRITER, str(journal), *numbers]
        with subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as writer:  # fmt: skip
            self.next += count + 5
            for line in writer.stdout:
                what, *rest = line.split()
                if what == "published":
                    self.published.setdefault(int(rest[0]), set()).add(rest[1])
                elif what == "loss":
                    self.said.append(line)
                else:
                    break
            else:
                raise AssertionError(writer.stderr.read())
            writer.send_signal(signal.SIGKILL)


class Damage:
    """One of many things that can happen to the files of a journal."""

    def __init__(self, journal: Path, older: Path, seed: int) -> None:
        """``older``: a copy of an earlier state, in a folder of its own."""
        self._files = {
            "db": journal,
            "wal": journal.with_name(journal.name + "-wal"),
            "shm": journal.with_name(journal.name + "-shm"),
        }
        self._older = older
        self._chance = random.Random(seed)
        self.what = ""

    def strike(self) -> str:
        """Do it; return what was done."""
        chance = self._chance
        file = chance.choice(["db", "wal", "wal", "wal", "shm"])
        kinds = {"bit": self._bit, "cut": self._cut, "remove": self._remove, "empty": self._empty}
        if file == "db":
            kinds["put back"] = self._put_back
        kind = chance.choice(list(kinds))
        return f"{file}: {kind} {kinds[kind](self._files[file]) or ''}"

    def _bit(self, file: Path) -> str:
        content = bytearray(file.read_bytes())
        if not content:
            return "nothing there"
        place, bit = self._chance.randrange(len(content)), self._chance.randrange(8)
        content[place] ^= 1 << bit
        file.write_bytes(content)
        return f"{bit} of byte {place}"

    def _cut(self, file: Path) -> str:
        size = self._chance.randrange(file.stat().st_size + 1)
        with file.open("r+b") as stream:
            stream.truncate(size)
        return f"to {size}"

    def _remove(self, file: Path) -> None:
        file.unlink()

    def _empty(self, file: Path) -> None:
        with file.open("r+b") as stream:
            stream.truncate(0)

    def _put_back(self, file: Path) -> str:
        """An older copy: with its own log, with none, or beside the log that is there."""
        which = self._chance.choice(["with its log", "alone", "beside the newer log"])
        shutil.copyfile(self._older / file.name, file)
        if which != "beside the newer log":
            for name in ("wal", "shm"):
                self._files[name].unlink(missing_ok=True)
        if which == "with its log":
            shutil.copyfile(self._older / self._files["wal"].name, self._files["wal"])
        return which


def copy_of(journal: Path, to: Path) -> None:
    """The database and its log as they are now."""
    to.mkdir()
    for name in (journal.name, f"{journal.name}-wal"):
        shutil.copyfile(journal.with_name(name), to / name)


def fault_of(journal: Path, recorder: Recorder, damage: str) -> str:
    """What is wrong after the start that follows the damage; empty: it was all noticed.

    Either the journal is refused in words, or each loss is said, or nothing is lost; and no
    number that was published is given to another inspection.
    """
    try:
        found = Journal(journal)
    except JournalError as error:
        return "" if str(error) else "refused without a word"
    with found, closing(Outbox(journal)) as outbox:
        losses = found.losses
        (new,) = found.record([inspection(recorder.next)], plain)
        (seen,) = outbox.pending(new.sequence - 1, 1)
    recorder.next += 1
    if seen.sequence in recorder.published:
        return f"{damage}: number {seen.sequence} was given twice"
    with closing(sqlite3.connect(journal)) as db:
        kept = dict(db.execute("SELECT sequence, id FROM inspections"))
    lost = [number for number, ids in recorder.published.items() if not ids <= {kept.get(number)}]
    if lost and not losses:
        return f"{damage}: {len(lost)} inspections are lost and nothing is said: {lost[:5]}"
    return ""


def damaged_once(home: Path, seed: int) -> str:
    """Write, kill, damage, start again; return what is wrong."""
    home.mkdir()
    chance = random.Random(seed)
    journal, recorder = home / "journal.db", Recorder()
    recorder.run(journal, chance.choice([5, 40, 300]), seed)
    copy_of(journal, home / "older")
    recorder.run(journal, chance.choice([5, 40, 300]), seed + 1)
    damage = Damage(journal, home / "older", seed).strike()
    wrong = fault_of(journal, recorder, damage)
    return wrong and f"seed {seed}: {wrong}"
