import os
import signal
import sys
from collections.abc import Iterator

import pytest

from chex.runtime.signals import first_interrupt, restore_sigterm, sigterm_as_interrupt


@pytest.fixture(autouse=True)
def dispositions() -> Iterator[None]:
    """Ctrl-C is as in a terminal, also where these tests run in the background and were started with it ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_is_caught_and_the_second_has_its_usual_effect(first: signal.Signals) -> None:
    with first_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), first)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_after_the_block_an_interrupt_has_its_usual_effect() -> None:
    with first_interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_background_process_ignores_ctrl_c_and_pauses_at_sigterm() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with first_interrupt() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("at_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_raises_keyboard_interrupt_in_the_block(at_ctrl_c: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, at_ctrl_c)
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_interrupt(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_handled_as_ctrl_c_is_at_that_moment() -> None:
    received: list[int] = []
    with sigterm_as_interrupt():
        signal.signal(signal.SIGINT, lambda number, frame: received.append(number))  # as Ray Tune does
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGINT]


def test_a_handler_that_a_library_sets_in_the_block_is_replaced_after_it() -> None:
    with sigterm_as_interrupt():
        with restore_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does, with a handler that ends the process
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_system_exit_by_the_handler_of_a_library_is_an_interrupt() -> None:
    def ray_ends(number: int, frame: object) -> None:
        sys.exit(number)

    def started() -> None:
        with restore_sigterm():
            signal.signal(signal.SIGTERM, ray_ends)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        started()


def test_another_system_exit_in_the_block_is_not_changed() -> None:
    with pytest.raises(SystemExit), restore_sigterm():
        sys.exit(2)
