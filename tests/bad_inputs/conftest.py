"""Nothing that is read may hang."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

MAX_S = 30


@pytest.fixture(autouse=True)
def _ends_what_hangs() -> Iterator[None]:
    def stop(_: int, frame: FrameType | None) -> None:
        message = f"still at it after {MAX_S} s, in {frame}"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
