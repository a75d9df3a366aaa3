"""What was learned, as bytes, as a folder and in a shared file: damaged, it is refused, and what is in memory stays."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.target import WrongError, scratch
from mixllm.assembly import Router
from mixllm.config import EncoderConfig, LearningConfig, RoutingConfig, TagsConfig
from mixllm.errors import StateError
from mixllm.learning import Bases, Checkpoint
from mixllm.manifest import seal_manifest
from mixllm.predictors.frozen import FrozenRegressor
from mixllm.predictors.linear_frozen import FrozenLinear
from mixllm.registry.shared_traffic import SharedTraffic
from mixllm.saved_router import SavedRouter

__all__ = ["StatesTarget", "taught_router"]

_KINDS = ("bytes", "resealed", "folder", "traffic")
_MAGIC = b"mixllm-state\n"
_WORDS = (
    b'"',
    b"{",
    b"}",
    b"null",
    b"1e999",
    b"-1",
    b'"schema":3',
    b'"schema":1',
    b'"sha256":""',
    b"F64",
    b"[0]",
    b"NaN",
)
_VALUES: tuple[Any, ...] = (None, 0, -1, 2**63, 1.5, "", "x" * 100, [], {}, [1], ["a", "a"], {"a": 1}, True, 1e308)


class StatesTarget:
    """`Checkpoint`, `Learner.restore`, `SavedRouter` and `SharedTraffic`."""

    name = "states"

    def __init__(self) -> None:
        logging.disable(logging.WARNING)
        self._router = taught_router()
        self._checkpoint = self._router.learner.checkpoint()
        self._payload = self._checkpoint.to_bytes()
        self._arrays = self._learned()
        self._temporary = scratch()
        self._folder = Path(self._temporary.name) / "saved"
        base: FrozenRegressor = FrozenLinear(weights=np.ones(4, np.float32))
        SavedRouter(
            llms=self._router.llms,
            routing=RoutingConfig(),
            encoder=EncoderConfig(),
            encoder_fingerprint="e",
            tags=TagsConfig(),
            learning=LearningConfig(),
            features=None,
            checkpoint=self._checkpoint,
            bases=Bases(quality={"a": base}, length={"a": base}),
        ).to_folder(self._folder)
        self._files = {path.name: path.read_bytes() for path in sorted(self._folder.iterdir())}
        self._traffic = Path(self._temporary.name) / "traffic"

    def make(self, rng: np.random.Generator) -> bytes:
        """Return the number of a kind, of a file, and the file's changed bytes."""
        kind = int(rng.choice(4, p=[0.4, 0.3, 0.25, 0.05]))
        if _KINDS[kind] == "bytes":
            return bytes([kind, 0]) + mutated(self._payload, rng, words=_WORDS, most=3)
        if _KINDS[kind] == "resealed":
            return bytes([kind, 0]) + rng.bytes(8)
        if _KINDS[kind] == "traffic":
            return bytes([kind, 0]) + rng.bytes(8)
        number = int(rng.integers(len(self._files)))
        return bytes([kind, number]) + mutated(list(self._files.values())[number], rng, words=_WORDS, most=3)

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Read it, restore it where it can be read, and see what the router knows afterwards."""
        del rng
        kind = _KINDS[case[0]]
        if kind == "bytes":
            return f"bytes {self._read(case[2:])}"
        if kind == "resealed":
            # A checksum that is right over content that is not: what another program, or a fault of this one, writes.
            return f"resealed {self._restored(_resealed(self._checkpoint, np.random.default_rng(list(case))))}"
        if kind == "folder":
            return f"folder {self._opened(case[1], case[2:])}"
        return f"traffic {self._shared(np.random.default_rng(list(case)))}"

    def close(self) -> None:
        """Close the router and remove the files."""
        self._router.close()
        self._temporary.cleanup()

    def _learned(self) -> dict[str, bytes]:
        arrays = self._router.learner.checkpoint().arrays
        return {name: np.asarray(array).tobytes() for name, array in arrays.items() if name != "newest_event_s"}

    def _read(self, payload: bytes) -> str:
        try:
            read = Checkpoint.from_bytes(payload)
        except StateError:
            return "refused"
        if payload != self._payload:
            raise WrongError("a changed state was read as if it were none")
        return self._restore(read)

    def _restored(self, payload: bytes) -> str:
        try:
            read = Checkpoint.from_bytes(payload)
        except StateError:
            return "refused"
        return self._restore(read)

    def _restore(self, checkpoint: Checkpoint) -> str:
        learner = self._router.learner
        try:
            learner.restore(checkpoint)
        except StateError:
            if self._learned() != self._arrays:
                raise WrongError("a refused state changed what was learned") from None
            return "refused by the learner"
        try:
            learner.snapshot()
        finally:
            learner.restore(self._checkpoint)
        return "restored"

    def _opened(self, number: int, content: bytes) -> str:
        name = list(self._files)[number]
        (self._folder / name).write_bytes(content)
        try:
            saved = SavedRouter.from_folder(self._folder)
        except StateError:
            return "refused"
        finally:
            (self._folder / name).write_bytes(self._files[name])
        same = {array: one.tobytes() for array, one in saved.checkpoint.arrays.items()}
        if same != {array: one.tobytes() for array, one in self._checkpoint.arrays.items()}:
            raise WrongError(f"{name} was changed, and what was read is different")
        return "read"

    def _shared(self, rng: np.random.Generator) -> str:
        """Let somebody write anything into the file that workers share, or cut it."""
        shared = SharedTraffic(path=self._traffic, counts=lambda: {"a": 1}, llms=lambda: ["a", "b"], beat_s=3600)
        try:
            with self._traffic.open("r+b") as file:
                size = self._traffic.stat().st_size
                for _ in range(int(rng.integers(1, 20))):
                    file.seek(int(rng.integers(12_000 if rng.random() < 0.7 else size)))
                    file.write(rng.bytes(int(rng.integers(1, 4000))))
                if rng.random() < 0.2:
                    file.truncate(int(rng.integers(size)))
            for _ in range(2):
                counts, cells = shared.counts(), shared.cells(["a", "b"])
                if any(not 0 < count < 64e6 for count in counts.values()) or not np.isfinite(cells).all():
                    raise WrongError(f"{counts} calls under way")
                if not all(until_s > 0 for until_s in shared.cooldowns().values()):
                    raise WrongError("a cooldown of no time")
                shared.tell_count("a", 2)
                shared.beat()
            return "read"
        finally:
            shared.close()


def taught_router() -> Router:
    """Return a small router that has learned something."""
    from tests.small_router import small_router, teach

    router = small_router()
    teach(router, 20)
    return router


def _resealed(checkpoint: Checkpoint, rng: np.random.Generator) -> bytes:
    """Return the checkpoint with other arrays or another manifest, under a checksum that is right."""
    from safetensors.numpy import save

    arrays = {name: np.array(array) for name, array in checkpoint.arrays.items()}
    payload = checkpoint.to_bytes()
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(payload[len(_MAGIC) : start], "little")
    manifest: dict[str, Any] = msgspec.json.decode(payload[start:end])
    del manifest["sha256"]
    for _ in range(int(rng.integers(1, 3))):
        name = list(arrays)[int(rng.integers(len(arrays)))]
        field = list(manifest)[int(rng.integers(len(manifest)))]
        match int(rng.integers(8)):
            case 0 if len(arrays) > 1:
                del arrays[name]
            case 1:
                arrays[name] = np.zeros(tuple(rng.integers(0, 5, size=int(rng.integers(0, 4)))))
            case 2:
                arrays[name] = np.full_like(arrays[name], rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e308, 0.0]))
            case 3:
                kinds = (np.float32, np.int64, np.uint8, np.bool_)
                with np.errstate(all="ignore"):
                    arrays[name] = arrays[name].astype(kinds[int(rng.integers(len(kinds)))])
            case 4:
                arrays[f"{name}.more"] = arrays[name]
            case 5 if arrays[name].size:
                place, value = int(rng.integers(arrays[name].size)), rng.choice([np.nan, np.inf, -1.0, 1e300])
                if arrays[name].dtype.kind != "f":  # Another case made them whole numbers, which hold none of these.
                    arrays[name] = arrays[name].astype(np.float64)
                arrays[name].flat[place] = value
            case _:
                manifest[field] = _VALUES[int(rng.integers(len(_VALUES)))]
    tensors = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    sealed = seal_manifest(cast("msgspec.Struct", manifest), tensors)
    return b"".join((_MAGIC, len(sealed).to_bytes(8, "little"), sealed, tensors))
