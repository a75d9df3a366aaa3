"""Run as a program: bursts facts into a store from several threads until it is killed, and says what it was told.

``d <id>`` is printed when a decision has been appended, ``f <id>`` when a feedback has been acknowledged; the ids of
a thread's decisions count up, and feedback ``t-n`` is on decision ``t-n``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Future
from itertools import count

import msgspec

from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.store import SQLiteStore
from mixllm.types import FeedbackReceipt

THREADS = 4
MAX_COMMIT_DELAY_S = 0.01
MAX_QUEUE = 2_000


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # One write a line: a kill leaves no half lines.


def burst(store: SQLiteStore, thread: int) -> None:
    for number in count():
        record = sample_record(number)
        decision = msgspec.structs.replace(
            record.decision, decision_id=f"{thread}-{number:06d}", created_at_s=time.time()
        )
        record = msgspec.structs.replace(record, decision=decision)
        store.append_decision(record)
        say(f"d {decision.decision_id}")
        store.append_outcome(sample_outcome(record))
        if number % 3 == 0:
            future = store.append_feedback(sample_feedback(record, decision.decision_id))
            future.add_done_callback(acknowledged)
            if number % 30 == 0:
                future.result()


def acknowledged(future: Future[FeedbackReceipt]) -> None:
    say(f"f {future.result().feedback_id}")


def main(path: str) -> None:
    store = SQLiteStore(
        path=path, max_commit_delay_s=MAX_COMMIT_DELAY_S, max_batch=64, max_queue=MAX_QUEUE, busy_timeout_s=30.0
    )
    for thread in range(THREADS):
        threading.Thread(target=burst, args=(store, thread)).start()


if __name__ == "__main__":
    main(sys.argv[1])
