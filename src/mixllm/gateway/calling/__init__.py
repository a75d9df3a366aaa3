"""Calls to LLMs that survive faults, for any protocol: attempts, retries, fallbacks, hedges, time limits.

A handler decides, makes `Calls` for its request (an `Outgoing`), and awaits `Calls.reach`: the attempt that delivered
has the whole answer in ``reply``, or the first events of a stream in ``first`` and the rest in ``batches``. What is
made of them is the handler's; it tells the attempt how it ended with `Attempt.record` or `Attempt.broke`.
"""

from mixllm.gateway.calling.attempt import Attempt
from mixllm.gateway.calling.calls import Calls
from mixllm.gateway.calling.hedging import HedgeAllowance
from mixllm.gateway.calling.outgoing import Outgoing
from mixllm.gateway.calling.streamed import StreamedAnswer

__all__ = ["Attempt", "Calls", "HedgeAllowance", "Outgoing", "StreamedAnswer"]
