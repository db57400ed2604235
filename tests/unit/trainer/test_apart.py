"""A process of its own: what it gives, how it fails, and that it never outlives its call."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from trainer.apart import apart

pytestmark = pytest.mark.slow

CALLER = """
    import signal, sys
    from trainer.__main__ import main
    from trainer.commands import synth
    from trainer.apart import apart
    from tests.unit.trainer.test_apart import tell_and_wait

    def wait(_):
        apart(tell_and_wait)
        return 0

    synth.synth = wait
    if __name__ == "__main__":
        # A shell's background job, as a test run may be, ignores it, and so would this.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv[1:] = ["synth", "out", "--good", "1", "--defect", "1"]
        main()
"""


def double(values):
    return values * 2


def fail():
    raise ValueError("no such device\nand more")


def die():
    os._exit(3)


class Deadly:
    """Whoever is given it dies before it has read the rest."""

    def __reduce__(self):
        return os._exit, (3,)


def mute():
    raise ValueError


def tell_and_wait():
    print(os.getpid(), flush=True)
    signal.pause()


@pytest.mark.timeout(60)
def test_one_that_dies_before_it_has_read_all_that_it_is_given_is_told():
    assert apart(double, [Deadly(), bytes(4 << 20)]) == "its process died"


def test_gives_what_was_found():
    np.testing.assert_array_equal(apart(double, np.arange(3)), [0, 2, 4])


@pytest.mark.parametrize(
    ("do", "said"),
    [(fail, "no such device"), (mute, "ValueError"), (die, "its process died")],
)
def test_says_why_there_is_nothing(do, said):
    assert apart(do) == said


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_ends_with_the_one_that_started_it(tmp_path, ending):
    program = tmp_path / "caller.py"
    program.write_text(textwrap.dedent(CALLER))
    # Its stdout is the child's too: it ends when the last of both is gone.
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as caller:
        try:
            assert int(caller.stdout.readline()) != caller.pid
            if ending is signal.SIGINT:  # as from a terminal: to both
                os.killpg(caller.pid, ending)
            else:
                caller.send_signal(ending)
            _, said = caller.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(caller.pid, signal.SIGKILL)
    if ending is not signal.SIGKILL:
        assert said == "trainer synth: interrupted\n"
        assert caller.returncode == 1
