"""Players that show what they were shown."""

from __future__ import annotations

from mixllm.evaluation.simulation.player import Arrival, Feedback, Player, SeesTruth, Truth


class Recording:
    """Passes everything on to another player, and keeps it."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.arrivals: list[Arrival] = []
        self.choices: list[str] = []
        self.told: list[Feedback] = []
        self.told_after: list[int] = []
        self.closed = 0

    def look(self, truth: Truth) -> None:
        if isinstance(self.player, SeesTruth):
            self.player.look(truth)

    def choose(self, arrival: Arrival) -> str:
        self.arrivals.append(arrival)
        self.choices.append(self.player.choose(arrival))
        return self.choices[-1]

    def learn(self, feedback: Feedback) -> None:
        self.told.append(feedback)
        self.told_after.append(len(self.choices))
        self.player.learn(feedback)

    def close(self) -> None:
        self.closed += 1
        self.player.close()


class Always:
    """Chooses one LLM, whatever comes."""

    def __init__(self, llm: str) -> None:
        self.llm = llm

    def choose(self, arrival: Arrival) -> str:
        return self.llm

    def learn(self, feedback: Feedback) -> None:
        pass

    def close(self) -> None:
        pass
