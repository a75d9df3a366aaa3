"""Run as a program: writes facts until it is killed, and says which feedback was acknowledged."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from itertools import count

import msgspec

from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.store import PostgresStore
from mixllm.types import FeedbackReceipt


def acknowledged(future: Future[FeedbackReceipt]) -> None:
    os.write(1, f"{future.result().feedback_id}\n".encode())  # One write a line: a kill leaves no half lines.


def main(url: str, schema: str, spool: str, prefix: str) -> None:
    store = PostgresStore(url=url, schema=schema, spool=spool, max_commit_delay_s=0.005)
    for number in count():
        record = sample_record(number)
        decision = msgspec.structs.replace(record.decision, decision_id=f"{prefix}-{number:06d}")
        record = msgspec.structs.replace(record, decision=decision)
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        future = store.append_feedback(sample_feedback(record, decision.decision_id))
        future.add_done_callback(acknowledged)
        if number % 20 == 0:
            future.exception()


if __name__ == "__main__":
    main(*sys.argv[1:])
