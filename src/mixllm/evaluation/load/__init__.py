"""Load: the real router in simulated time, with LLMs that queue, limit, slow down and fail.

`load_test` lets MixLLM and the contenders of the benchmark meet the same arrivals and the same service times.
"""
