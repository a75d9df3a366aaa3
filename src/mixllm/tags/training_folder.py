"""Where a training leaves its checkpoints, and in the end its model: safetensors and JSON, each there whole or not."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from mixllm.errors import StateError

if TYPE_CHECKING:
    import torch

__all__ = ["Epoch", "TrainingFolder", "run_digest"]

_CHECKPOINTS = "checkpoint"
_EPOCH = re.compile(r"epoch-(\d{6})")
_SCHEMA = 1


class Epoch(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The state after an epoch.

    Parameters
    ----------
    losses
        Mean loss of each epoch so far.
    seconds
        How long they took.
    model
        The weights by name.
    optimizer
        The optimizer's moments by name.
    """

    losses: tuple[float, ...]
    seconds: float
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    run: str
    losses: tuple[float, ...]
    seconds: float


class TrainingFolder:
    """The folder of one training: checkpoints at first, then the model in their place.

    Parameters
    ----------
    path
        The folder; missing, empty, or holding checkpoints of the same run.
    run
        Identity of the run: checkpoints of another one are refused.

    Raises
    ------
    StateError
        On entering, where the folder holds something else, or cannot be made.
    """

    def __init__(self, path: str | Path, *, run: str) -> None:
        self.path = Path(path)
        self.run = run
        self._checkpoints = self.path / _CHECKPOINTS

    def __enter__(self) -> Self:
        try:
            self._checkpoints.parent.mkdir(parents=True, exist_ok=True)
            others = sorted(file.name for file in self.path.iterdir() if file != self._checkpoints)
        except OSError as error:
            raise self._unwritable(error) from error
        if others:
            raise StateError(
                f"{self.path} holds {others[0]}, and is no unfinished training. Choose another folder, or remove it."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not self.path.is_dir():
            return
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def last_epoch(self) -> Epoch | None:
        """Return the state after the last whole epoch; None where there is none.

        Raises
        ------
        StateError
            Where the checkpoint is damaged, or of another run.
        """
        whole = self._epochs()
        if not whole:
            return None
        from safetensors.torch import load_file

        folder = whole[-1]
        try:
            manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_Manifest)
            model, optimizer = load_file(folder / "model.safetensors"), load_file(folder / "optimizer.safetensors")
        except (OSError, msgspec.MsgspecError, SafetensorError) as error:
            raise StateError(
                f"The checkpoint {folder} is damaged ({type(error).__name__}: {error}). Remove {self._checkpoints} to "
                "start afresh."
            ) from error
        if (manifest.schema, manifest.run) != (_SCHEMA, self.run):
            raise StateError(
                f"{self._checkpoints} belongs to a training with another model, other texts or other settings. Use "
                "those, choose another folder, or remove it."
            )
        return Epoch(losses=manifest.losses, seconds=manifest.seconds, model=model, optimizer=optimizer)

    def keep(self, epoch: Epoch) -> None:
        """Write a checkpoint in the place of the one before; raises `StateError` where it cannot be written."""
        from safetensors.torch import save_file

        manifest = _Manifest(schema=_SCHEMA, run=self.run, losses=epoch.losses, seconds=epoch.seconds)
        try:
            self._checkpoints.mkdir(exist_ok=True)
            before = list(self._checkpoints.iterdir())  # the last epoch, and what an interruption left half written
            scratch = Path(tempfile.mkdtemp(dir=self._checkpoints, prefix=".new-"))
            save_file(epoch.model, scratch / "model.safetensors")
            save_file(epoch.optimizer, scratch / "optimizer.safetensors")
            (scratch / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            scratch.rename(self._checkpoints / f"epoch-{len(epoch.losses):06d}")
            for old in before:
                shutil.rmtree(old)
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self, save: Callable[[Path], None]) -> None:
        """Put what `save` writes into a folder in the place of the checkpoints.

        Raises
        ------
        StateError
            Where it cannot be written; the checkpoints remain.
        """
        try:
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=f".{self.path.name}-") as scratch:
                new, old = Path(scratch) / "new", Path(scratch) / "old"
                new.mkdir()
                save(new)
                self.path.rename(old)
                try:
                    new.rename(self.path)
                except OSError:
                    old.rename(self.path)
                    raise
        except (OSError, SafetensorError) as error:
            raise self._unwritable(error) from error

    def _epochs(self) -> list[Path]:
        if not self._checkpoints.is_dir():
            return []
        return sorted(folder for folder in self._checkpoints.iterdir() if _EPOCH.fullmatch(folder.name))

    def _unwritable(self, error: Exception) -> StateError:
        reason = getattr(error, "strerror", None) or error
        return StateError(f"{self.path} cannot be written ({reason}). Check the path, its rights and the disk.")


def run_digest(settings: Any, model: str, texts: Sequence[str], shares: NDArray[np.float64]) -> str:
    """Return the identity of a run: its settings, the model that it starts from, and what it learns from."""
    digest = hashlib.sha256(f"{settings!r}|{model}|{shares.shape}".encode())
    digest.update(np.ascontiguousarray(shares).tobytes())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()
