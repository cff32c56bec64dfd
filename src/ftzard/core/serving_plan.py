"""Which incoming files the next run should take, so that each is predicted once and none holds up the others."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# A process that dies is tried again this often; what dies more often than that has a reason.
_MAX_DEATHS: Final = 3


@dataclass(frozen=True)
class Request:
    """A run to ask for.

    Attributes:
        keys: Content keys, neighbours in the order of the partitions.
        assets: Names of the assets to make for them, in the order of the graph.
    """

    keys: tuple[str, ...]
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """A run that did not succeed.

    Attributes:
        keys: Its content keys.
        is_death: Whether it was ended from outside, by a kill or a person, and not by an error.
    """

    keys: tuple[str, ...]
    is_death: bool


@dataclass(frozen=True)
class ServingPlan:
    """What to do next.

    Attributes:
        request: The next run; None when there is nothing to do.
        num_waiting: Files for a later run.
        given_up: Files that failed on their own; a new champion, or a person, may try them again.
    """

    request: Request | None
    num_waiting: int
    given_up: tuple[str, ...]


def plan_serving(
    keys: Sequence[str],
    assets: Sequence[str],
    made: Mapping[str, Collection[str]],
    attempts: Sequence[Attempt],
    max_files: int,
) -> ServingPlan:
    """Plan the next run.

    Files that were part of a failed run are tried one at a time, so that the one to blame is found and the others go
    on; a file that fails alone is given up.

    Args:
        keys: All content keys, in the order of the partitions.
        assets: Names of the assets that each file goes through, in order: reading it, then at least one more.
        made: Name -> the keys for which the asset exists.
        attempts: The runs with the present champion that did not succeed.
        max_files: How many files a run takes at most.
    """
    together, alone = _troubles(attempts)
    lacking = {key: _lacking(key, assets, made) for key in keys}
    open_keys = [key for key in keys if lacking[key] and not alone[key]]
    given_up = tuple(key for key in keys if lacking[key] and alone[key])
    if not open_keys:
        return ServingPlan(None, 0, given_up)
    fresh = [key for key in open_keys if not together[key]]
    first = fresh[0] if fresh else open_keys[0]
    chosen = [first]
    position = {key: number for number, key in enumerate(keys)}
    for key in fresh[1:]:
        is_neighbour = position[key] == position[chosen[-1]] + 1
        if len(chosen) == max_files or not is_neighbour or lacking[key] != lacking[first]:
            break
        chosen.append(key)
    return ServingPlan(Request(tuple(chosen), lacking[first]), len(open_keys) - len(chosen), given_up)


def _lacking(key: str, assets: Sequence[str], made: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """What a file lacks; reading it is done again with what comes next.

    A run that is killed while it reports leaves files that were read scattered among files that were not, and only
    neighbours that lack the same can share a run. To read a file twice costs less than a run for it.
    """
    lacking = tuple(name for name in assets if key not in made[name])
    return tuple(assets) if assets[1] in lacking else lacking


def _troubles(attempts: Sequence[Attempt]) -> tuple[Counter[str], Counter[str]]:
    """How often each key was part of a run that failed with others, and of one that failed on it alone."""
    together: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    deaths: Counter[tuple[str, ...]] = Counter()
    for attempt in attempts:
        if attempt.is_death:
            deaths[attempt.keys] += 1
            if deaths[attempt.keys] < _MAX_DEATHS:
                continue
        (alone if len(attempt.keys) == 1 else together).update(attempt.keys)
    return together, alone
