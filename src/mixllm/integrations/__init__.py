"""MixLLM inside other programs."""
