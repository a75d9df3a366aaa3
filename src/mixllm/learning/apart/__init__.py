"""Learning in a process of its own: it follows the store and tells those that decide what it knows."""

from mixllm.learning.apart.follower import FollowingWorker
from mixllm.learning.apart.server import LearningServer

__all__ = ["FollowingWorker", "LearningServer"]
