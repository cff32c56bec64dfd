"""Optuna's studies: where they are stored, how the next trial is chosen, and which trials count as done."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from filelock import FileLock, Timeout

from ftzard.config import FtzardConfig, SearchDimension, TuningConfig
from ftzard.errors import TuningStorageError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)

# Attributes of a trial: why its training diverged, and the machine it runs on.
DIVERGED: Final = "diverged"
HOST: Final = "host"

_SQLITE: Final = "sqlite:///"
# The median of the first points says little: trials are still warming up.
_FIRST_POINT_TO_PRUNE_AT: Final = 2
# A quarter and half of a training (`ftzard.core.tuning` validates four times).
_POINTS_OF_HALVING: Final = (1, 2)


def open_study(name: str, config: FtzardConfig, project_dir: Path) -> "Study":
    """Open a study, new or as it was left.

    Args:
        name: Its name in the storage.
        config: Where it is stored, how trials are chosen and which way is better.
        project_dir: What a relative SQLite path is taken from.
    """
    import optuna

    # Its own handler writes to standard error; what it says goes through `logging` as everything else does.
    optuna.logging.disable_default_handler()
    return optuna.create_study(
        study_name=name,
        storage=_storage_url(config.tuning.storage, project_dir),
        direction="minimize" if config.tuning_metric == "loss" else "maximize",
        pruner=_pruner(config.tuning),
        load_if_exists=True,
    )


def _pruner(tuning: TuningConfig) -> Any:
    """What gives trials up; how far a trial has come is counted in points (`ftzard.core.tuning`), from 1."""
    import optuna

    match tuning.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=_FIRST_POINT_TO_PRUNE_AT)
        case "successive_halving":
            return _successive_halving()()
        case "none":
            return optuna.pruners.NopPruner()


@cache
def _successive_halving() -> Any:
    """The pruner's class, made at first use, because its base class is Optuna's."""
    from optuna.pruners import BasePruner
    from optuna.study import StudyDirection

    class SuccessiveHalving(BasePruner):
        """Asynchronous successive halving (Li et al., 2020, algorithm 2) with a reduction factor of 2.

        A trial goes on where it is among the better half of those that came as far before it; the first one always
        does. Optuna's own also counts trials that were interrupted, and with their second try among the others a study
        would come to another end than one that nobody interrupted.
        """

        def prune(self, study: "Study", trial: "FrozenTrial") -> bool:
            point = trial.last_step
            if point not in _POINTS_OF_HALVING:
                return False
            done = [other for other in study.get_trials(deepcopy=False) if is_done(other)]
            others = [other.intermediate_values[point] for other in done if point in other.intermediate_values]
            sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
            num_better = sum(sign * value > sign * trial.intermediate_values[point] for value in others)
            return num_better >= max(1, (len(others) + 1) // 2)

    return SuccessiveHalving


def _storage_url(url: str, project_dir: Path) -> str:
    if not url.startswith(_SQLITE):
        return url
    path = project_dir.resolve() / url.removeprefix(_SQLITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"{_SQLITE}{path}"


def sampler(tuning: TuningConfig, num_done: int) -> Any:
    """A sampler for the next trial, seeded by how many came before: one that lives on would not survive a kill."""
    import optuna

    seed = int(np.random.SeedSequence([tuning.seed, num_done]).generate_state(1)[0])
    if tuning.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def distribution(dimension: SearchDimension) -> Any:
    """Put a dimension in Optuna's terms."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.low is None or dimension.high is None:
        return CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def is_done(trial: "FrozenTrial") -> bool:
    """Whether a trial came to an end of its own; one that was interrupted did not, and is tried again."""
    return trial.state.name in {"COMPLETE", "PRUNED"} or DIVERGED in trial.user_attrs


def num_done(study: "Study") -> int:
    """How many trials came to an end of their own."""
    return sum(is_done(trial) for trial in study.get_trials(deepcopy=False))


def give_up_interrupted(study: "Study") -> None:
    """End the trials of processes that were killed: on this machine nobody else works on the study now."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(HOST) in {None, platform.node()}:
            _logger.warning("trial %d was interrupted; its values are tried again", trial.number)
            study.tell(trial.number, state=TrialState.FAIL)


@contextmanager
def alone_with(project_dir: Path, name: str) -> Iterator[None]:
    """Be the only process of this machine that works on a study; the lock is the kernel's and ends with the process."""
    folder = project_dir / ".ftzard"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.info("another process works on the study %s; waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def storage_errors_explained(storage: str) -> Iterator[None]:
    """Say which setting is to blame.

    Raises:
        TuningStorageError: The storage cannot be reached or refused a call, or its driver is not installed.
    """
    try:
        yield
    except Exception as error:
        # Told by the module, because importing either costs seconds.
        is_storage = type(error).__module__.partition(".")[0] in {"sqlalchemy", "optuna"}
        if not is_storage and not isinstance(error, ImportError):
            raise
        reason = str(error).partition("\n")[0]
        raise TuningStorageError(
            f"the storage of Optuna's studies (tuning.storage={storage}) cannot be used: {reason}",
            fix="give one that can be written to, such as tuning.storage=sqlite:///.ftzard/tuning.db",
        ) from error
