from __future__ import annotations

import threading

from mixllm.store.tail import Tail


def test_wait_returns_at_once_where_there_is_more() -> None:
    tail = Tail(last_seq=5)
    assert tail.wait(4, timeout_s=1e12)
    assert not tail.wait(5, timeout_s=0.0)


def test_tail_never_goes_back() -> None:
    tail = Tail(last_seq=5)
    tail.advance(3)
    assert tail.wait(4, timeout_s=0.0)


def test_every_waiter_is_woken() -> None:
    tail = Tail(last_seq=0)
    woken: list[bool] = []
    waiters = [threading.Thread(target=lambda: woken.append(tail.wait(0, timeout_s=1e12))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    tail.advance(1)
    for waiter in waiters:
        waiter.join(10)
    assert woken == [True] * 3


def test_close_ends_waits_but_keeps_what_is_known() -> None:
    tail = Tail(last_seq=0)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(tail.wait(0, timeout_s=60)))
    waiter.start()
    tail.advance(0)
    tail.close()
    waiter.join(10)
    assert woken == [False]
    assert not tail.wait(0, timeout_s=60), "no further wait"
    tail.advance(1)
    assert tail.wait(0, timeout_s=0)
