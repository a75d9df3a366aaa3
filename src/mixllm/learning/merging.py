"""What two learners have learned, added; and what one has learned since an earlier state of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import OtherFeaturesError, StateError
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.cost_scale import scale_ratio
from mixllm.learning.model_making import TIME_PARTS
from mixllm.predictors import are_time_sums, is_former_state

__all__ = ["learned_since", "merged"]

_HALVINGS = 40
"""Steps in which the share of an earlier state is found that is still in a later one."""

_SLACK = 1e-9
"""Rounding of sums, as a share of the largest."""

_LIFETIME = "lifetime_"
"""Begins the names of the sums of everything ever learned of a quality, forgotten or not."""

_Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One part of a state: its arrays by name."""

    arrays: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How a part of one state and the same part of another are put together.

    Parameters
    ----------
    add
        Of one and of another learner: the part of a learner on both their data.
    since
        Of a later and of an earlier state of one learner: what was learned in between.
    alike
        Whether both have the same arrays, of the same shapes.
    """

    add: Callable[[_Part, _Part], _Part]
    since: Callable[[_Part, _Part], _Part]
    alike: bool = True


def _added(mine: _Part, theirs: _Part) -> _Part:
    return _Part(arrays={name: array + theirs.arrays[name] for name, array in mine.arrays.items()})


def _remainder(later: _Part, earlier: _Part, *, possible: Callable[[_Arrays, _Arrays], bool]) -> _Part:
    """Return `later` without `earlier`, or where that was forgotten in part, without as much as can still be in it."""

    def without(share: float) -> dict[str, NDArray[np.float64]]:
        return {name: array - share * earlier.arrays[name] for name, array in later.arrays.items()}

    if possible(without(1.0), later.arrays):
        return _Part(arrays=without(1.0))
    least, most = 0.0, 1.0  # Without `least` of it there remain sums, without `most` there do not.
    for _ in range(_HALVINGS):
        share = (least + most) / 2
        least, most = (share, most) if possible(without(share), later.arrays) else (least, share)
    return _Part(arrays=without(least))


def _are_regression_sums(arrays: _Arrays, of: _Arrays) -> bool:
    """Return whether `arrays` can be a `BayesianLinear`'s: a Gram matrix, sums of squares and of weights."""
    slack = _SLACK * (1.0 + float(np.abs(of["gram"]).max(initial=0.0)))
    return float(arrays["sums"].min(initial=0.0)) >= 0.0 and float(
        np.linalg.eigvalsh(arrays["gram"]).min()
    ) >= -slack * len(arrays["gram"])


def _are_positive_sums(arrays: _Arrays, of: _Arrays) -> bool:
    """Return whether `arrays` can be sums of positive numbers."""
    del of
    return all(float(array.min(initial=0.0)) >= 0.0 for array in arrays.values())


def _with_lifetime(part: _Part) -> _Part:
    """Return `part` with the sums of everything ever learned, which it has only where something was forgotten."""
    whole = {_LIFETIME + name: array for name, array in part.arrays.items() if not name.startswith(_LIFETIME)}
    return _Part(arrays={**whole, **part.arrays})


def _alike(one: _Part, other: _Part) -> tuple[_Part, _Part]:
    """Return both with the sums of everything ever learned, where one of them has forgotten something."""
    if any(name.startswith(_LIFETIME) for name in (*one.arrays, *other.arrays)):
        return _with_lifetime(one), _with_lifetime(other)
    return one, other


def _remainder_of_life(later: _Part, earlier: _Part) -> _Part:
    """Return what was learned since: of everything ever learned the difference, of what is left what can be in it."""
    kept = {name: array for name, array in later.arrays.items() if not name.startswith(_LIFETIME)}
    before = {name: earlier.arrays[name] for name in kept}
    ever = {name: later.arrays[name] - earlier.arrays[name] for name in later.arrays if name.startswith(_LIFETIME)}
    left = _remainder(_Part(arrays=kept), _Part(arrays=before), possible=_are_regression_sums)
    return _Part(arrays={**left.arrays, **ever})


def _nearer_to_an_alarm(mine: _Part, theirs: _Part) -> _Part:
    """Return the drift test with the larger sum: those of two learners do not add up."""
    return max((mine, theirs), key=lambda part: float(part.arrays["test"][:2].max(initial=0.0)))


_NEWEST = "recent"
"""What is known of an LLM's speed just now: no sum; of two, the newer stands."""


def _newer(mine: _Part, theirs: _Part) -> NDArray[np.float64]:
    return max((mine.arrays[_NEWEST], theirs.arrays[_NEWEST]), key=lambda recent: recent.tolist())


def _without_newest(part: _Part) -> _Part:
    return _Part(arrays={name: array for name, array in part.arrays.items() if name != _NEWEST})


def _times_added(mine: _Part, theirs: _Part) -> _Part:
    sums = _added(_without_newest(mine), _without_newest(theirs))
    return _Part(arrays={**sums.arrays, _NEWEST: _newer(mine, theirs)})


def _times_since(later: _Part, earlier: _Part) -> _Part:
    if not are_time_sums(later.arrays):
        raise ValueError("no sums of times")
    sums = _remainder(
        _without_newest(later), _without_newest(earlier), possible=lambda arrays, _: are_time_sums(arrays)
    )
    return _Part(arrays={**sums.arrays, _NEWEST: later.arrays[_NEWEST]})


_SUMS = _Rule(add=_added, since=partial(_remainder, possible=_are_regression_sums))
_DECAYING_SUMS = _Rule(add=_added, since=partial(_remainder, possible=_are_positive_sums))

_SUMS_FOR_LIFE = _Rule(add=_added, since=_remainder_of_life)
_OWN = _Rule(add=lambda mine, _: mine, since=lambda later, _: later, alike=False)
"""Of what is no sum, that of the one that the other is merged into stands."""

_PARTS_OF_LLMS: Mapping[str, _Rule] = {
    "quality": _SUMS_FOR_LIFE,
    "length": _SUMS,
    "billing": _SUMS,
    "latency": _Rule(add=_times_added, since=_times_since),
    "pace": _SUMS,
    "endpoint": _OWN,
    "spent_usd": _DECAYING_SUMS,
    "drift": _Rule(add=_nearer_to_an_alarm, since=lambda later, _: later, alike=False),
    "level_precision": _OWN,
    "newcomer": _OWN,
    "prices": _OWN,
}
"""Every part of an LLM's state, kept as ``{row}.{part}.{array}``. A new one has its line here."""

_SHARED_PARTS: Mapping[str, _Rule] = {
    "scale": _DECAYING_SUMS,
    "watch": _OWN,
    "newest_event_s": _OWN,
    # `Learner.merge` adds these two, who knows what their rows stand for; of sources a difference tells nothing.
    "density": _Rule(add=lambda mine, _: mine, since=lambda later, _: later, alike=False),
    "judging": _Rule(add=lambda mine, _: mine, since=lambda _, __: _Part(), alike=False),
}
"""Every part that belongs to no LLM, kept as ``{part}`` or ``{part}.{array}``. A new one has its line here."""


def merged(mine: Checkpoint, theirs: Checkpoint) -> Checkpoint:
    """Return what one learner would know that had learned all that made `mine` and all that made `theirs`.

    Parameters
    ----------
    mine
        Version, position, reference LLM and, where both know an LLM, its level are of this one.
    theirs
        What is added. LLMs that `mine` does not know come with it.

    Raises
    ------
    OtherFeaturesError
        Where they were learned on other features or bases.
    StateError
        Where an array is missing, not finite or has another shape, a part is not known, or both are the same.

    Notes
    -----
    Sums of judgements, lengths and bills depend neither on an LLM's level nor on any other prior: they add up exactly,
    in any order and grouping. Sums that decay (latency, the scale of cost) add up too, which gives each side the weight
    of its latest calls; the result then decays as ever. Costs on the scale of another reference LLM are converted by
    the ratio of the prices. Drift tests are no sums: of each LLM the one nearer to an alarm goes on. Prices and what
    was expected of newcomers are those of `mine`.

    What both have learned counts twice: of learners with a common past, merge what one learned since then
    (`learned_since`). Merging the same state twice is refused only where nothing came between; else it is the caller's
    duty.
    """
    _check_features(mine, theirs)
    parts, others = _parts(mine), _parts(_in_the_scale_of(theirs, mine))
    if _same(parts, others):
        raise StateError(
            "Both states are the same, and what was learned once would count twice. Merge the states of two learners."
        )
    for key, part in others.items():
        if key[1] in TIME_PARTS and _at_another_endpoint(key[0], parts, others):
            continue
        parts[key] = _rule(key).add(*_fitting(parts[key], part, key)) if key in parts else part
    new = {llm: level for llm, level in zip(theirs.llms, theirs.levels, strict=True) if llm not in mine.llms}
    given = mine.reference is not None
    return _with_parts(
        mine,
        parts,
        reference=mine.reference if given else theirs.reference,
        reference_price=mine.reference_price if given else theirs.reference_price,
        llms=(*mine.llms, *new),
        levels=(*mine.levels, *new.values()),
    )


def learned_since(later: Checkpoint, earlier: Checkpoint) -> Checkpoint:
    """Return what was learned between two states of one learner, to be merged into another.

    Parameters
    ----------
    later, earlier
        The states; what `earlier` has, `later` had once too.

    Raises
    ------
    OtherFeaturesError
        Where they were learned on other features or bases.
    StateError
        Where `earlier` knows an LLM that `later` does not, or an array is damaged.

    Notes
    -----
    ``merged(other, learned_since(mine, common))`` is one learner on the union, exactly, for what nothing was forgotten
    of. Where `later` has forgotten, as latencies always do, what is taken away is the largest share of `earlier` that
    can still be in it, so that nothing counts twice.
    """
    _check_features(later, earlier)
    unknown = sorted(set(earlier.llms) - set(later.llms))
    if unknown:
        raise StateError(
            f"What is to be an earlier state knows LLM {unknown[0]!r}, which the later one does not. Give the state "
            "that both learners started from."
        )
    parts, before = _parts(later), _parts(_in_the_scale_of(earlier, later))
    for key, part in before.items():
        if key not in parts:
            continue
        try:
            parts[key] = _rule(key).since(*_fitting(parts[key], part, key))
        except (KeyError, IndexError, ValueError, np.linalg.LinAlgError) as error:
            raise StateError(
                f"The states' {key[1]} of {key[0] or 'the pool'} are damaged. Give other states."
            ) from error
    return _with_parts(later, parts)


_Key = tuple[str | None, str]
"""The LLM that a part belongs to, None where it belongs to none; and the part's name."""


def _parts(checkpoint: Checkpoint) -> dict[_Key, _Part]:
    """Return the parts of a state, each with finite arrays."""
    arrays: dict[_Key, dict[str, NDArray[np.float64]]] = {}
    for name, array in checkpoint.arrays.items():
        first, _, rest = name.partition(".")
        llm, part, own = None, first, rest
        if first.isdigit() and int(first) < len(checkpoint.llms):
            llm = checkpoint.llms[int(first)]
            part, _, own = rest.partition(".")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise StateError(f"State array {name!r} is not finite; it is damaged. Give another state.")
        arrays.setdefault((llm, part), {})[own] = array
    for key in arrays:
        _rule(key)
    former = [key for key, found in arrays.items() if key[1] == "latency" and is_former_state(found)]
    for key in former:  # As where such a state is loaded: times begin afresh.
        del arrays[key]
    return {key: _Part(arrays=found) for key, found in arrays.items()}


def _at_another_endpoint(llm: str | None, mine: Mapping[_Key, _Part], theirs: Mapping[_Key, _Part]) -> bool:
    """Return whether the two know an LLM from different endpoints: their times say nothing of each other."""
    endpoints = [parts.get((llm, "endpoint"), _Part()).arrays.get("") for parts in (mine, theirs)]
    return all(one is not None for one in endpoints) and not np.array_equal(endpoints[0], endpoints[1])  # type: ignore[arg-type]


def _rule(key: _Key) -> _Rule:
    llm, part = key
    rule = (_SHARED_PARTS if llm is None else _PARTS_OF_LLMS).get(part)
    if rule is None:
        raise StateError(f"The state has a part {part!r} that this version cannot merge. Upgrade mixllm.")
    return rule


def _fitting(mine: _Part, theirs: _Part, key: _Key) -> tuple[_Part, _Part]:
    """Return both parts where their arrays are of the same kinds and shapes, as they have to be."""
    mine, theirs = _alike(mine, theirs)
    wanted, found = ({name: array.shape for name, array in one.arrays.items()} for one in (mine, theirs))
    if _rule(key).alike and wanted != found:
        raise StateError(
            f"The states' {key[1]} of {key[0] or 'the pool'} have other shapes: {found} and {wanted}. Merge states "
            "that were learned with the same encoder and tags."
        )
    return mine, theirs


def _with_parts(checkpoint: Checkpoint, parts: Mapping[_Key, _Part], **change: Any) -> Checkpoint:
    whole = replace(checkpoint, **change)
    rows = {llm: f"{row}." for row, llm in enumerate(whole.llms)}
    kept = {part for (llm, part), found in parts.items() if llm is None and found.arrays}
    return replace(
        whole,
        arrays={
            f"{rows[llm] if llm is not None else ''}{part}{own and '.'}{own}": array
            for (llm, part), found in parts.items()
            for own, array in found.arrays.items()
        },
        names={name: known for name, known in whole.names.items() if name.partition(".")[0] in kept},
    )


def _in_the_scale_of(checkpoint: Checkpoint, other: Checkpoint) -> Checkpoint:
    """Return `checkpoint` with its scale of cost as the reference LLM of `other` would have it."""
    sums = checkpoint.arrays.get("scale")
    if sums is None or sums.shape != (2,):
        return checkpoint
    ratio = scale_ratio(checkpoint.reference_price, other.reference_price)
    return replace(checkpoint, arrays={**checkpoint.arrays, "scale": sums * (ratio, 1.0)})


def _same(one: Mapping[_Key, _Part], other: Mapping[_Key, _Part]) -> bool:
    """Return whether both have learned the same, and something."""
    mine, theirs = ({key: part.arrays for key, part in parts.items() if _rule(key).alike} for parts in (one, other))
    return (
        mine.keys() == theirs.keys()
        and any(array.any() for arrays in mine.values() for array in arrays.values())
        and all(
            arrays.keys() == theirs[key].keys()
            and all(np.array_equal(array, theirs[key][name]) for name, array in arrays.items())
            for key, arrays in mine.items()
        )
    )


def _check_features(one: Checkpoint, other: Checkpoint) -> None:
    if one.features != other.features:
        raise OtherFeaturesError(
            f"One state was learned on features {one.features!r}, the other on {other.features!r}. Merge states that "
            "were learned with the same encoder, tags and model."
        )
