"""What the period has cost so far: from the store's events, each exactly once."""

from __future__ import annotations

from mixllm.decision import Period
from mixllm.interfaces import Store
from mixllm.types import LearningEvent, Spending

__all__ = ["Ledger"]


class Ledger:
    """Measured cost of the current period, in all and by key. Not thread-safe.

    It opens with what the store knows, whoever wrote it, and then follows the store's events. Its position is its own:
    an event that comes again, because a checkpoint was rolled back, is not charged again.

    Parameters
    ----------
    period
        When it starts from nothing.
    now_s
        The Unix time.
    """

    def __init__(self, *, period: Period, now_s: float) -> None:
        self.period = period
        self.start_s, self.end_s = period.bounds(now_s)
        self.position = 0
        self._spent: dict[str, float] = {}
        self._total = 0.0

    @property
    def total_usd(self) -> float:
        """What the period has cost so far."""
        return self._total

    def of_usd(self, key_id: str) -> float:
        """Return what the period has cost so far for one key."""
        return self._spent.get(key_id, 0.0)

    def open(self, store: Store, *, until_seq: int) -> None:
        """Take over what the events of `store` up to `until_seq` have cost in this period."""
        self._spent = dict(store.spent_usd(since_s=self.start_s, until_seq=until_seq))
        self._total = sum(self._spent.values())
        self.position = until_seq

    def spending(self) -> Spending:
        """Return what is known, for `take_over`."""
        return Spending(since_s=self.start_s, until_seq=self.position, usd=dict(self._spent))

    def take_over(self, spending: Spending) -> None:
        """Go on from what another ledger of the same events knew; what it says of another period is no cost of this."""
        self._spent = dict(spending.usd) if spending.since_s == self.start_s else {}
        self._total = sum(self._spent.values())
        self.position = spending.until_seq

    def turn(self, now_s: float) -> bool:
        """Begin the period of `now_s` if it is a later one, and return whether it is."""
        if now_s < self.end_s:
            return False
        self.start_s, self.end_s = self.period.bounds(now_s)
        self._spent.clear()
        self._total = 0.0
        return True

    def charge(self, event: LearningEvent) -> bool:
        """Charge the measured cost of `event` to the period that it was recorded in; False where that was done before.

        What was recorded in an earlier period is no cost of this one.
        """
        if event.seq <= self.position:
            return False
        self.position = event.seq
        self.turn(event.created_at_s)
        if event.created_at_s >= self.start_s and event.charge_usd > 0:
            self._spent[event.key_id] = self.of_usd(event.key_id) + event.charge_usd
            self._total += event.charge_usd
        return True
