import os
import signal

import pytest

from chex.interrupt import first_interrupt


def test_the_first_interrupt_is_kept_and_the_second_is_as_ever() -> None:
    with first_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_after_the_block_an_interrupt_is_as_ever() -> None:
    with first_interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
