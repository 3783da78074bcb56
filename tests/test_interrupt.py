import os
import signal
import sys
from collections.abc import Iterator

import pytest

from chex.interrupt import first_interrupt, sigterm_kept, terminable


@pytest.fixture(autouse=True)
def dispositions() -> Iterator[None]:
    """Ctrl-C is as in a terminal, also where these tests run in the background and were started with it ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_is_kept_and_the_second_is_as_ever(first: signal.Signals) -> None:
    with first_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), first)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_after_the_block_an_interrupt_is_as_ever() -> None:
    with first_interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_process_that_was_started_in_the_background_goes_on_at_ctrl_c_and_pauses_at_sigterm() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with first_interrupt() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("at_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_an_interrupt_within_the_block(at_ctrl_c: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, at_ctrl_c)
    before = signal.getsignal(signal.SIGTERM)
    with terminable(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_does_what_ctrl_c_does_at_that_moment() -> None:
    heard: list[int] = []
    with terminable():
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))  # as Ray Tune does
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGINT]


def test_what_starts_within_the_block_does_not_keep_sigterm_for_itself() -> None:
    with terminable():
        with sigterm_kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does, with a handler that ends the process
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_sigterm_that_ends_what_starts_within_the_block_is_an_interrupt() -> None:
    def ray_ends(number: int, frame: object) -> None:
        sys.exit(number)

    def started() -> None:
        with sigterm_kept():
            signal.signal(signal.SIGTERM, ray_ends)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        started()


def test_another_end_within_the_block_stays_what_it_is() -> None:
    with pytest.raises(SystemExit), sigterm_kept():
        sys.exit(2)
