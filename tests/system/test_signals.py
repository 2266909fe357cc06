import contextlib
import os
import signal

import pytest

from poolstudy.system.signals import Interrupt


def test_ctrl_c_that_an_import_swallows_ends_what_it_was_for() -> None:
    with Interrupt() as interrupt:
        with contextlib.suppress(KeyboardInterrupt):  # as a library does that is being imported
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.begin()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_once_it_has_begun_a_first_signal_is_noted_and_the_handlers_come_back(sign: signal.Signals) -> None:
    before = signal.getsignal(sign)
    with Interrupt() as interrupt:
        interrupt.begin()
        os.kill(os.getpid(), sign)
        assert interrupt.signal == sign
    assert signal.getsignal(sign) is before
