"""Threads whose end is waited for."""

import threading

import pytest

from stompy.transport.threads import WaitableThread


def test_its_end_is_waited_for_more_than_once():
    done = threading.Event()
    thread = WaitableThread(lambda: done.wait() and None, "test")
    thread.start()
    thread.wait(0)
    assert not thread.is_over
    done.set()
    thread.wait()
    thread.wait()
    assert thread.is_over
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_fails_has_ended_too():
    thread = WaitableThread(lambda: 1 // 0 and None, "test")
    thread.start()
    thread.wait()
    assert thread.is_over
