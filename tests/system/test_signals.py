import contextlib
import os
import signal

import pytest

from poolstudy.system.signals import Interrupt


def test_ctrl_c_that_an_import_suppresses_is_raised_by_begin() -> None:
    with Interrupt() as interrupt:
        with contextlib.suppress(KeyboardInterrupt):  # as some libraries do during their import
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.begin()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_begin_the_first_signal_is_recorded_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        interrupt.begin()
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
    assert signal.getsignal(number) is before
