"""A request to end (Ctrl-C, SIGTERM) waits for the end of a step, and is never lost."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from ftzard.resources.interruption import Interruption, deferred_requests

_REQUESTS = (signal.SIGTERM, signal.SIGINT)


class _AskedError(BaseException):
    """As what Dagster raises where a run is cancelled."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Both requests are answered by an error."""

    def answer(number: int, _: object) -> None:
        raise _AskedError(number)

    before = {number: signal.signal(number, answer) for number in _REQUESTS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def work(*steps: Callable[[], object], patience_s: float = 60.0) -> list[int]:
    """Go through steps; which of them were gone through, from 1, when a request to end was answered."""
    done = []
    try:
        with deferred_requests(patience_s) as check:
            for number, step in enumerate(steps, start=1):
                step()
                done.append(number)
                check()
    except _AskedError as asked:
        return [*done, -asked.args[0]]
    return done


def nothing() -> None: ...


@pytest.mark.parametrize("number", _REQUESTS)
def test_a_request_waits_for_the_end_of_the_step_and_is_answered_by_who_answered_it_before(number: int) -> None:
    handler = signal.getsignal(number)
    assert work(nothing, lambda: ask(number), nothing) == [1, 2, -number]
    assert signal.getsignal(number) is handler


def test_while_something_is_logged_nobody_is_answered() -> None:
    told = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ask()
            ask()
            told.append(record.getMessage())

    logger, handler = logging.getLogger("slow"), Slow()
    logger.addHandler(handler)

    def log_and_wait() -> None:
        logger.warning("half a record")
        threading.Event().wait(60)

    try:
        assert work(log_and_wait, nothing) == [-signal.SIGTERM]
        assert work(nothing, lambda: logger.warning("half a record"), nothing) == [1, 2, -signal.SIGTERM]
    finally:
        logger.removeHandler(handler)
    assert told == ["half a record"] * 2


def test_before_the_first_step_is_whole_a_request_is_answered_at_once() -> None:
    assert work(ask, nothing) == [-signal.SIGTERM]


def test_who_asks_again_does_not_wait() -> None:
    def ask_twice() -> None:
        ask(signal.SIGTERM)
        ask(signal.SIGINT)

    assert work(nothing, ask_twice) == [1, -signal.SIGINT]


def test_a_step_that_takes_too_long_is_not_waited_for() -> None:
    def ask_and_wait() -> None:
        ask()
        threading.Event().wait(60)

    assert work(nothing, ask_and_wait, patience_s=0.01) == [1, -signal.SIGTERM]


def test_a_request_after_the_last_step_is_answered_at_the_end() -> None:
    with pytest.raises(_AskedError):
        _asked_after_the_last_step()


def _asked_after_the_last_step() -> None:
    with deferred_requests() as check:
        check()
        ask()


def test_an_error_is_told_rather_than_a_request_that_waited() -> None:
    def ask_and_fail() -> None:
        ask()
        message = "diverged"
        raise ValueError(message)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="diverged"):
        work(nothing, ask_and_fail)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_request_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert work(nothing, lambda: ask(signal.SIGINT), nothing) == [1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_where_no_signal_arrives_nothing_is_deferred() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []
    thread = threading.Thread(target=work, args=(nothing, lambda: seen.append(signal.getsignal(signal.SIGTERM))))
    thread.start()
    thread.join()
    assert seen == [handler]


# In a process that only trains


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """It ends with what was there before."""
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    made = Interruption(patience_s=60.0)
    made.listen()
    yield made
    made.ignore()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_process_that_is_asked_in_two_ways_at_once_ends_after_the_step(interruption: Interruption) -> None:
    interruption.check()
    ask(signal.SIGTERM)
    ask(signal.SIGINT)
    assert interruption.is_asked
    with pytest.raises(KeyboardInterrupt):
        interruption.check()
    # What follows, such as the checkpoint, is not disturbed.
    ask(signal.SIGTERM)


def test_a_process_that_has_nothing_to_keep_yet_ends_at_once(interruption: Interruption) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert interruption.is_asked


def test_a_process_whose_step_takes_too_long_ends_in_the_middle_of_it(interruption: Interruption) -> None:
    interruption.patience_s = 0.01
    interruption.check()
    ask()
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(60)
