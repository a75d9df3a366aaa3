from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import Future

import pytest

from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.errors import StoreClosedError, StoreError
from mixllm.store.intake import Command, Fact, Intake, QueuedFeedback

LONG_S = 60.0


def intake(
    *, max_batch: int = 4, max_queue: int = 100, max_queue_bytes: int = 10_000, max_delay_s: float = 0.0
) -> Intake:
    return Intake(max_batch=max_batch, max_queue=max_queue, max_queue_bytes=max_queue_bytes, max_delay_s=max_delay_s)


def command() -> Command:
    def nothing(_: sqlite3.Connection) -> None:
        return None

    return Command(run=nothing, future=Future())


def queued(number: int) -> QueuedFeedback:
    return QueuedFeedback(feedback=sample_feedback(sample_record(number), f"f{number}"), body="{}", future=Future())


def test_batches_keep_the_order_and_their_size() -> None:
    queue = intake(max_batch=4)
    items: list[Fact] = [
        sample_record(1),
        sample_outcome(sample_record(1)),
        queued(1),
        sample_record(2),
        sample_record(3),
    ]
    for item in items:
        assert queue.put(item)
    assert queue.take() == items[:4]
    assert queue.take() == items[4:]


def test_writer_waits_for_a_batch_to_fill() -> None:
    queue = intake(max_batch=3, max_delay_s=LONG_S)
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    records = [sample_record(number) for number in range(3)]
    queue.put(records[0])
    queue.put(records[1])
    thread.join(0.02)
    assert taken == []
    queue.put(records[2])
    thread.join(10)
    assert taken == [records]


def test_writer_waits_no_longer_than_the_delay() -> None:
    queue = intake(max_batch=3, max_delay_s=0.02)
    queue.put(sample_record(1))
    started_s = time.monotonic()
    assert queue.take() == [sample_record(1)]
    assert time.monotonic() - started_s >= 0.02


def test_command_is_urgent_and_comes_in_its_turn() -> None:
    queue = intake(max_batch=2, max_delay_s=LONG_S)
    records = [sample_record(number) for number in range(3)]
    urgent = command()
    for record in records:
        queue.put(record)
    queue.put_command(urgent)
    assert queue.take() == records[:2]
    assert queue.take() == [records[2], urgent]
    queue.put(records[0])
    thread = threading.Thread(target=queue.take)
    thread.start()
    thread.join(0.02)
    assert thread.is_alive(), "after the command the writer waits again"
    queue.close()
    thread.join(10)
    assert not thread.is_alive()


def test_held_are_queued_facts_and_those_being_written() -> None:
    queue = intake(max_batch=2)
    record, other = sample_record(1), sample_record(2)
    items: list[Fact] = [record, sample_outcome(record), other, queued(1)]
    for item in items:
        queue.put(item)
    batch = queue.take()
    assert batch is not None
    assert queue.held(record.decision.decision_id) == [items[0], items[1], items[3]]
    queue.release(batch)
    assert queue.held(record.decision.decision_id) == [items[3]]
    assert queue.held(other.decision.decision_id) == [other]
    assert queue.held("nobody") == []


def test_queue_is_bounded_in_number_with_those_being_written() -> None:
    queue = intake(max_batch=2, max_queue=3)
    assert [queue.put(sample_record(number)) for number in range(4)] == [True, True, True, False]
    batch = queue.take()
    assert batch is not None
    assert not queue.put(sample_record(5)), "what is being written still counts"
    queue.release(batch)
    assert queue.put(sample_record(5))
    queue.put_command(command())
    queue.put_command(command())


def test_queue_is_bounded_in_bytes() -> None:
    queue = intake(max_queue_bytes=100)
    assert queue.put(sample_record(1, prompt="x" * 80))
    assert not queue.put(sample_record(2))
    assert queue.put(sample_outcome(sample_record(1)))
    batch = queue.take()
    assert batch is not None
    queue.release(batch)
    assert queue.put(sample_record(2, prompt="x" * 84))


def test_put_back_keeps_facts_first_and_hands_out_who_waits() -> None:
    queue = intake(max_batch=4)
    facts = [sample_record(number) for number in range(4)]
    first, urgent, last = queued(0), command(), queued(9)
    queue.put(facts[0])
    queue.put(first)
    queue.put(facts[1])
    queue.put(facts[2])
    queue.put_command(urgent)
    queue.put(facts[3])
    queue.put(last)
    batch = queue.take()
    assert batch is not None
    assert queue.put_back(batch) == [first, urgent, last]
    assert queue.take() == facts


def test_closing_hands_out_the_rest_without_delay() -> None:
    queue = intake(max_batch=2, max_delay_s=LONG_S)
    records = [sample_record(number) for number in range(3)]
    for record in records:
        queue.put(record)
    queue.close()
    assert queue.closing
    assert (queue.take(), queue.take(), queue.take()) == (records[:2], records[2:], None)
    with pytest.raises(StoreClosedError):
        queue.put(records[0])
    with pytest.raises(StoreClosedError):
        queue.put_command(command())


def test_abandoned_queue_says_why() -> None:
    queue = intake()
    queue.put(sample_record(1))
    assert queue.abandon(RuntimeError("bug")) == [sample_record(1)]
    assert queue.take() is None
    with pytest.raises(StoreError, match="writer has stopped") as caught:
        queue.put(sample_record(1))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_pause_ends_when_closed() -> None:
    queue = intake()
    thread = threading.Thread(target=queue.pause, args=(LONG_S,))
    thread.start()
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
