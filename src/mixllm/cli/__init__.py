"""The command line, one file per command: `mixllm.cli.app` knows them by name and loads each when it is used."""

__all__: list[str] = []
