"""The policies that MixLLM is compared with; those of other packages are loaded when they are made."""
