"""The gateway over a long time, and under kills and failures: what is lost, counted twice, or left unanswered."""
