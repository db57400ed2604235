"""Parts of a real plant that tests ask for by name."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.broker import MOSQUITTO, Broker
from tests.subscriber import Subscriber
from tests.wiretap import Wiretap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
# Of `make check`: pytest --hypothesis-profile quick.
settings.register_profile("quick", settings.get_profile("untimed"), max_examples=20)


class Scheduling(LoadScopeScheduling):
    """What starts stations, and waits for them, in four; unit tests by file, as there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        if file.startswith("tests/unit/"):
            return file
        kind, name = file.split("/")[1:3]
        return f"{kind}, {name < 'test_h'}" if kind == "faults" else kind


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """A mosquitto that is not started yet: ``make_broker(settings="...")``."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    with ExitStack() as stack:

        def make(settings: str = "") -> Broker:
            directory = tmp_path / "mosquitto"
            directory.mkdir()
            broker = Broker(directory, settings)
            stack.callback(broker.kill)
            return broker

        yield make


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A running mosquitto that anyone may use."""
    return make_broker().start()


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wiretap]:
    """The way to the running mosquitto, that can go bad."""
    with closing(Wiretap(broker.port)) as made:
        yield made


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """A recording consumer: ``subscribe(broker.port, topic)``."""
    with ExitStack() as stack:

        def make(*args: object, **options: object) -> Subscriber:
            subscriber = Subscriber(*args, **options)  # type: ignore[arg-type]
            stack.callback(subscriber.close)
            return subscriber

        yield make


@pytest.fixture
def go_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What OpenVINO's provider, or another, does from now on, in what this test starts.

    See `tests.standins.onnxruntime` for the faults that there are.
    """
    file = tmp_path / "fault"
    file.write_text("")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "standins"), prepend=os.pathsep)
    monkeypatch.setenv("EDGE_STANDIN", str(file))

    def tell(fault: str, provider: str = "openvino") -> None:
        partial = tmp_path / "fault.partial"
        partial.write_text(fault and f"{provider}:{fault}")
        partial.rename(file)

    return tell
