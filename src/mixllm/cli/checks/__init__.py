"""What ``mixllm doctor`` looks at: the configuration, the encoder and the store, the network, the installation."""

__all__: list[str] = []
