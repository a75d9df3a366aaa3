"""A router as a folder: settings, trained features and everything learned; also what training writes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from mixllm.config import EncoderConfig, LearningConfig, RoutingConfig, TagsConfig
from mixllm.errors import ConfigError, StateError
from mixllm.interfaces import Encoder
from mixllm.learning import Bases, Checkpoint
from mixllm.learning.feature_model import FeatureModel
from mixllm.learning.offline import TrainedModel
from mixllm.manifest import open_manifest, seal_manifest
from mixllm.tags.labelling import TagLabels
from mixllm.types import LLMSpec

__all__ = ["SavedRouter", "check_target"]

_MANIFEST = "router.json"
_SCHEMA = 1


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    llms: tuple[LLMSpec, ...]
    routing: RoutingConfig
    encoder: EncoderConfig
    encoder_fingerprint: str
    tags: TagsConfig
    learning: LearningConfig
    trained: bool = False
    based: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedRouter:
    """What a router's folder holds: no key, no prompt and no decision.

    Parameters
    ----------
    llms
        The pool.
    routing, encoder, tags, learning
        Settings.
    encoder_fingerprint
        Identity of the encoder, trained parts included.
    features
        Trained features; None where the router has the training-free ones.
    checkpoint
        Everything learned.
    bases
        What was fitted offline under the predictors; None where nothing was.
    """

    llms: tuple[LLMSpec, ...]
    routing: RoutingConfig
    encoder: EncoderConfig
    encoder_fingerprint: str
    tags: TagsConfig
    learning: LearningConfig
    features: FeatureModel | None
    checkpoint: Checkpoint
    bases: Bases | None = None

    @classmethod
    def of_training(cls, model: TrainedModel, *, base: Encoder, encoder: EncoderConfig, labels: TagLabels) -> Self:
        """Return what training made as a router.

        Parameters
        ----------
        model
            What it made.
        base, encoder
            The encoder under it, and its settings.
        labels
            What its tags come from.
        """
        recipe = {field: float(getattr(model.recipe, field)) for field in model.recipe.__slots__}
        return cls(
            llms=model.learner.snapshot().specs,
            routing=RoutingConfig(reference_llm=model.learner.reference),
            encoder=encoder,
            encoder_fingerprint=model.encoder.fingerprint,
            tags=TagsConfig(),
            learning=LearningConfig(recipe=recipe),
            features=FeatureModel.of(
                base=base,
                encoder=model.encoder,
                tagger=model.tagger,
                projection=model.projection,
                vocabulary=labels.vocabulary,
            ),
            checkpoint=model.learner.checkpoint(),
            bases=model.learner.bases,
        )

    def to_folder(self, target: Path) -> None:
        """Write the folder, whole or not at all.

        Raises
        ------
        StateError
            Where `target` holds something else than a saved router, or cannot be written.
        """
        check_target(target)
        manifest = _Manifest(
            schema=_SCHEMA,
            llms=self.llms,
            routing=self.routing,
            encoder=self.encoder,
            encoder_fingerprint=self.encoder_fingerprint,
            tags=self.tags,
            learning=self.learning,
            trained=self.features is not None,
            based=self.bases is not None,
        )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                folder = Path(scratch) / "new"
                folder.mkdir()
                (folder / _MANIFEST).write_bytes(msgspec.json.format(seal_manifest(manifest)))
                self.checkpoint.to_folder(folder)
                if self.features is not None:
                    self.features.to_folder(folder)
                if self.bases is not None:
                    self.bases.to_folder(folder)
                _swap_in(folder, target, old=Path(scratch) / "old")
        except OSError as error:
            raise StateError(
                f"{target} cannot be written ({error.strerror}). Check the path and its rights."
            ) from error

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read what `to_folder` wrote.

        Raises
        ------
        StateError
            Where the folder is missing, damaged or newer.
        """
        try:
            sealed = (folder / _MANIFEST).read_bytes()
        except OSError as error:
            raise StateError(f"{folder} holds no saved router ({error.strerror}): expected {_MANIFEST}.") from error
        manifest = open_manifest(sealed, kind=_Manifest, schema=_SCHEMA, name=str(folder / _MANIFEST))
        return cls(
            llms=manifest.llms,
            routing=manifest.routing,
            encoder=manifest.encoder,
            encoder_fingerprint=manifest.encoder_fingerprint,
            tags=manifest.tags,
            learning=manifest.learning,
            features=FeatureModel.from_folder(folder) if manifest.trained else None,
            checkpoint=Checkpoint.from_folder(folder),
            bases=Bases.from_folder(folder) if manifest.based else None,
        )

    def routing_of_pool(self) -> RoutingConfig:
        """Return the routing without a reference LLM that has left the pool: the state knows it, and its price."""
        if self.routing.reference_llm in {spec.name for spec in self.llms}:
            return self.routing
        return msgspec.structs.replace(self.routing, reference_llm=None)

    def check_encoder(self, encoder: Encoder) -> None:
        """Raise `StateError` where `encoder` is not the one that the router was saved with."""
        if encoder.fingerprint != self.encoder_fingerprint:
            raise StateError(
                f"The router was saved with encoder {self.encoder_fingerprint!r}, but this installation has "
                f"{encoder.fingerprint!r}. Install the same encoder."
            )

    def encoder_for(self, given: EncoderConfig) -> EncoderConfig:
        """Return the encoder to serve with: the model's, unless the configuration names another one.

        Raises
        ------
        ConfigError
            Where it does.
        """
        if given not in (self.encoder, EncoderConfig()):
            raise ConfigError(
                f"encoder: the model in learning.model was trained with encoder kind {self.encoder.kind!r} and its "
                "settings. Leave the section encoder out, or train again with it."
            )
        return self.encoder

    def tags_for(self, given: TagsConfig) -> TagsConfig:
        """Return the tags to serve with: the model's, unless the configuration names others.

        Raises
        ------
        ConfigError
            Where it does.
        """
        if given not in (self.tags, TagsConfig()):
            raise ConfigError(
                "tags: the model in learning.model has its own tags. Leave the section tags out, or the model."
            )
        return self.tags

    def learning_for(self, given: LearningConfig) -> LearningConfig:
        """Return `given` with the model's priors under those that it names."""
        return msgspec.structs.replace(given, recipe={**self.learning.recipe, **given.recipe})


def check_target(target: Path) -> None:
    """Raise `StateError` where `target` holds something else than a saved router, which may be replaced."""
    if target.exists() and not _replaceable(target):
        raise StateError(f"{target} exists and is no saved router. Choose another folder, or remove it.")


def _swap_in(folder: Path, target: Path, *, old: Path) -> None:
    """Put `folder` in the place of `target`; where that fails, `target` is what it was."""
    if not target.exists():
        folder.rename(target)
        return
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / _MANIFEST).is_file() or not any(folder.iterdir()))
