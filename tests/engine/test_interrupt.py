import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from superpoint.engine import interrupt
from superpoint.engine.interrupt import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None
        signal.raise_signal(number)
        assert stop.signal == number
    assert signal.getsignal(number) is before


def test_second_signal_quits_unless_it_is_an_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.2  # torchrun passing on the same Ctrl-C
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGINT
        now[0] += 2.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_install_nothing() -> None:
    def inside() -> object:
        with StopRequest():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(inside).result() is signal.getsignal(signal.SIGINT)
