"""Full fine-tuning of a sentence transformer, so that its embeddings separate domains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.sentence_model import SentenceModel, digest_of_folder
from mixllm.errors import InvalidValueError, MissingExtraError, StateError
from mixllm.tags.separation import one_hot, separation_loss
from mixllm.tags.training_folder import Epoch, TrainingFolder, run_digest
from mixllm.types import Value
from mixllm.units import positive

if TYPE_CHECKING:
    import torch

__all__ = ["FineTuneReport", "Progress", "fine_tune"]

Progress: TypeAlias = Callable[[int, int, float], None]
"""Is told after each step: steps done, steps in all, loss of the step."""

_NEIGHBOURS = 8  # texts of one domain that go into a batch together: a centroid of one text teaches nothing
_WEIGHT_DECAY = 0.01
_WARM_UP_SHARE = 0.1
_LONGEST_GRADIENT = 1.0
_LEAST_TOKENS = 8
_MOST_SEED = 2**63


class FineTuneReport(Value, frozen=True, kw_only=True):
    """What a fine-tuning did.

    Parameters
    ----------
    losses
        Mean loss of each epoch, in order.
    seconds
        How long the epochs took together, those before an interruption included.
    device
        Where it ran.
    texts
        Texts that were trained on.
    left_out
        Texts without a token or without a domain.
    domains
        Names of the domains; numbers where weights were given.
    resumed_at
        Epochs that were already done when it started.
    """

    losses: tuple[float, ...]
    seconds: float
    device: str
    texts: int
    left_out: int
    domains: tuple[str, ...]
    resumed_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    epochs: int
    batch_size: int
    learning_rate: float
    margin: float
    inter_weight: float
    seed: int
    max_tokens: int | None

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 1), ("batch_size", self.batch_size, 2)):
            if type(value) is not int or value < least:
                raise InvalidValueError(name, value, f"a whole number >= {least}")
        if type(self.seed) is not int or not 0 <= self.seed < _MOST_SEED:
            raise InvalidValueError("seed", self.seed, "a whole number from 0 to 2**63 - 1")
        if self.max_tokens is not None and (type(self.max_tokens) is not int or self.max_tokens < _LEAST_TOKENS):
            raise InvalidValueError("max_tokens", self.max_tokens, f"a whole number >= {_LEAST_TOKENS}, or None")
        if not -1.0 <= self.margin <= 1.0:
            raise InvalidValueError("margin", self.margin, "between -1 and 1")
        positive("learning_rate", self.learning_rate)
        positive("inter_weight", self.inter_weight)


def fine_tune(
    *,
    model_folder: str | Path,
    texts: Sequence[str],
    labels: Sequence[str] | None = None,
    weights: NDArray[Any] | None = None,
    out: str | Path,
    epochs: int = 3,
    batch_size: int = 64,
    learning_rate: float = 2e-5,
    margin: float = 0.0,
    inter_weight: float = 1.0,
    seed: int = 0,
    device: str | None = None,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> FineTuneReport:
    """Train all weights of a sentence transformer on `separation_loss`, and write the result as a new folder.

    After each epoch a checkpoint is left in `out`. Called again with the same arguments after an interruption, it goes
    on from there and gives the same result as in one go. At the end `out` becomes the trained model, in one step.

    Parameters
    ----------
    model_folder
        A local folder of a sentence transformer, with weights in safetensors. It stays as it is.
    texts
        What queries ask, length n.
    labels
        The domain of each text, length n; "" where it is not known.
    weights
        In place of labels, how much each text belongs to each domain, shape (n, T), >= 0.
    out
        The folder to write: missing, empty, or with the checkpoint of this very run.
    epochs
        How often each text is seen.
    batch_size
        Texts of a step, at least 2. Centroids are those of the batch, so that small batches make them noisy.
    learning_rate
        Of AdamW, after a linear rise over the first tenth of the steps; it falls linearly to 0 from there.
    margin
        Centroids whose cosine is at most this are far enough apart.
    inter_weight
        How much the distance between domains counts against the nearness within them, > 0. Raise it where all
        domains fall together (a loss that stays near 1).
    seed
        Of the order of texts and of dropout. On a CPU, with the same libraries and number of threads, the same seed
        gives the same weights.
    device
        Where to train, e.g. ``cpu`` or ``cuda``; None takes a GPU where there is one.
    max_tokens
        Tokens that are read of each text in training, at least 8; None takes what the model reads. The written model
        reads as many as before.
    progress
        Is told after each step. What it raises ends the training, whose checkpoint remains.

    Raises
    ------
    MissingExtraError
        Where torch or sentence-transformers is not installed.
    InvalidValueError
        Where an argument is out of range, or fewer than two domains remain.
    EncoderError
        Where `model_folder` holds no model that can be loaded.
    StateError
        Where `out` holds something else, cannot be written, or its checkpoint is of another run, or the loss is no
        longer a finite number.

    Notes
    -----
    Each epoch sees every text once. Texts of a domain (that of the largest weight) are shuffled and dealt in eights,
    the eights shuffled and cut into batches, so that the centroids in a batch rest on several texts each.

    Everything on disk is safetensors and JSON; nothing is pickled.
    """
    settings = _Settings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        margin=margin,
        inter_weight=inter_weight,
        seed=seed,
        max_tokens=max_tokens,
    )
    shares, domains = _shares(texts, labels, weights)
    torch = _torch()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    run = run_digest(settings, digest_of_folder(Path(model_folder)), texts, shares)
    with TrainingFolder(out, run=run) as folder, torch.random.fork_rng():
        model = SentenceModel(model_folder, device=device)
        full_tokens = model.network.max_seq_length
        if max_tokens is not None:
            model.network.max_seq_length = min(max_tokens, model.max_tokens)
        kept = [(bounded, row) for row, text in enumerate(texts) if (bounded := model.bounded(text)) is not None]
        counted = [(text, row) for text, row in kept if shares[row].any()]
        training = _Training(
            model=model,
            texts=[text for text, _ in counted],
            shares=shares[[row for _, row in counted]],
            settings=settings,
        )
        resumed_at = training.run(folder, progress)
        model.network.max_seq_length = full_tokens
        folder.finish(lambda path: model.network.save_pretrained(str(path), create_model_card=False))
    return FineTuneReport(
        losses=tuple(training.losses),
        seconds=training.seconds,
        device=str(device),
        texts=len(counted),
        left_out=len(texts) - len(counted),
        domains=domains,
        resumed_at=resumed_at,
    )


class _Training:
    """One run: the model, its optimizer, and the losses so far."""

    def __init__(
        self, *, model: SentenceModel, texts: Sequence[str], shares: NDArray[np.float64], settings: _Settings
    ) -> None:
        if int(shares.any(axis=0).sum()) < 2:
            raise InvalidValueError("labels", "fewer", "two domains or more among the texts that have a token")
        torch = _torch()
        self.model = model
        self.texts = texts
        self.shares = shares
        self.settings = settings
        self.losses: list[float] = []
        self.seconds = 0.0
        self.steps_per_epoch = -(-len(texts) // settings.batch_size)
        self.optimizer = torch.optim.AdamW(
            [weight for weight in model.network.parameters() if weight.requires_grad],
            lr=settings.learning_rate,
            weight_decay=_WEIGHT_DECAY,
        )

    def run(self, folder: TrainingFolder, progress: Progress | None) -> int:
        """Train what is left of the epochs; return how many were done before."""
        last = folder.last_epoch()
        if last is not None:
            self._restore(last)
        done = len(self.losses)
        for epoch in range(done, self.settings.epochs):
            started_s = time.monotonic()
            self._epoch(epoch, progress)
            self.seconds += time.monotonic() - started_s
            folder.keep(self._epoch_state())
        return done

    def _epoch(self, epoch: int, progress: Progress | None) -> None:
        torch = _torch()
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, epoch]).generate_state(1, np.uint64)[0] >> 1))
        rng = np.random.default_rng([self.settings.seed, epoch])
        self.model.network.train()
        total, seen = 0.0, 0
        for step, rows in enumerate(self._batches(rng), epoch * self.steps_per_epoch):
            loss = self._step(step, rows)
            total, seen = total + loss * len(rows), seen + len(rows)
            if progress is not None:
                progress(step + 1, self.steps_per_epoch * self.settings.epochs, loss)
        self.losses.append(total / seen)

    def _step(self, step: int, rows: NDArray[np.intp]) -> float:
        torch = _torch()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._warmth(step)
        embeddings = self.model.forward([self.texts[row] for row in rows])
        values = embeddings.detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise StateError("The training diverged: embeddings are no longer finite. Use a lower learning rate.")
        loss = separation_loss(
            values, self.shares[rows], margin=self.settings.margin, inter_weight=self.settings.inter_weight
        )
        self.optimizer.zero_grad(set_to_none=True)
        embeddings.backward(torch.as_tensor(loss.gradient, dtype=embeddings.dtype, device=embeddings.device))
        torch.nn.utils.clip_grad_norm_(self.model.network.parameters(), _LONGEST_GRADIENT)
        self.optimizer.step()
        return loss.value

    def _warmth(self, step: int) -> float:
        """Return the share of the learning rate at `step`: up to 1 and down again."""
        steps = self.steps_per_epoch * self.settings.epochs
        rise = max(1, int(steps * _WARM_UP_SHARE))
        return min((step + 1) / rise, (steps - step) / max(1, steps - rise))

    def _batches(self, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        nearest = self.shares.argmax(axis=1)
        groups: list[NDArray[np.intp]] = []
        for domain in np.unique(nearest):
            rows = rng.permutation(np.flatnonzero(nearest == domain))
            groups += [rows[start : start + _NEIGHBOURS] for start in range(0, len(rows), _NEIGHBOURS)]
        order = np.concatenate([groups[place] for place in rng.permutation(len(groups))])
        size = self.settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _epoch_state(self) -> Epoch:
        state = self.optimizer.state_dict()["state"]
        moments = {f"{number}.{name}": value for number, slots in state.items() for name, value in slots.items()}
        return Epoch(
            losses=tuple(self.losses),
            seconds=self.seconds,
            model=_on_disk(self.model.network.state_dict()),
            optimizer=_on_disk(moments),
        )

    def _restore(self, last: Epoch) -> None:
        fresh = self.optimizer.state_dict()
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in last.optimizer.items():
            number, _, name = key.partition(".")
            slots.setdefault(int(number), {})[name] = value
        try:
            self.model.network.load_state_dict(last.model)
            self.optimizer.load_state_dict({"state": slots, "param_groups": fresh["param_groups"]})
        except (RuntimeError, ValueError, KeyError) as error:
            raise StateError(f"The checkpoint does not fit the model ({error}). Remove it to start afresh.") from error
        self.losses = list(last.losses)
        self.seconds = last.seconds


def _shares(
    texts: Sequence[str], labels: Sequence[str] | None, weights: NDArray[Any] | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return how much each text belongs to each domain, shape (n, T), and the domains' names."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InvalidValueError("texts", type(texts).__name__, "a sequence of strings")
    if (labels is None) == (weights is None):
        raise InvalidValueError("labels", "both or neither", "given, or weights, but not both")
    if labels is not None:
        if len(labels) != len(texts):
            raise InvalidValueError("labels", f"{len(labels)} labels", f"as many as texts ({len(texts)})")
        names, shares = one_hot(list(labels))
        known = [place for place, name in enumerate(names) if name.strip()]
        return shares[:, known], tuple(names[place] for place in known)
    given = np.asarray(weights, dtype=np.float64)
    if given.ndim != 2 or len(given) != len(texts) or not np.isfinite(given).all() or (given < 0).any():
        raise InvalidValueError("weights", f"shape {given.shape}", f"a matrix >= 0 with {len(texts)} rows, as texts")
    return given, tuple(str(number) for number in range(given.shape[1]))


def _on_disk(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Copies, as safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("Fine-tuning", "train") from error
    return torch
