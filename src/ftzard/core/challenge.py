"""A challenger meets the champion: both scored on the same rows, judged, registered and perhaps promoted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import polars as pl

from ftzard.core.adapter import config_for
from ftzard.core.answer_predictions import task_of_predictions
from ftzard.core.champion_records import AdapterEvidence, AliasMove, RegisteredAdapter
from ftzard.core.gate import AnyComparison, PromotionVerdict
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.retraining import Lineage, seen_by
from ftzard.core.splitting import HELD_FOR_TEST, test_fingerprint
from ftzard.core.task_judging import compare_any, judging_of
from ftzard.errors import LabelSetChangedError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig


class Registry(Lineage, Protocol):
    """What a challenge needs of the model registry; see `ftzard.resources.registry.AdapterRegistry`."""

    def history(self) -> tuple[AliasMove, ...]:
        """Every move of the alias, oldest first."""

    def register(
        self, adapter: AdapterDirectory, evidence: AdapterEvidence, *, test_fingerprint: str, run_id: str
    ) -> RegisteredAdapter:
        """Make an adapter a version."""

    def promote(
        self, challenger: RegisteredAdapter, *, instead_of: RegisteredAdapter | None, by: str, why: str
    ) -> None:
        """Move the alias."""


def check_may_challenge(config: "FtzardConfig", labels: Sequence[str], registry: Lineage) -> None:
    """Check, before anything is trained, that the champion does the same as the adapter will.

    Args:
        config: Its task.
        labels: The label set of the training; none where answers are written.
        registry: Where champions are kept.

    Raises:
        LabelSetChangedError: It does something else, so that `champion` would refuse the adapter in the end.
    """
    champion = registry.champion()
    if champion is None:
        return
    predictions = registry.evidence(champion).predictions
    if (theirs := task_of_predictions(predictions)) != config.data.task:
        what, other = f"for data.task={config.data.task}", f"for {theirs}"
    elif config.data.has_labels and (known := labels_of_predictions(predictions)) != tuple(labels):
        what, other = f"with the labels {list(labels)}", f"with {list(known)}"
    else:
        return
    raise LabelSetChangedError(
        f"the training is {what}, and champion version {champion.version} of {champion.name} was trained {other}: "
        "they could not be compared in the end, so nothing is trained",
        fix="set another tracking.registered_model for what is new, so that it has a champion of its own",
    )


def challenge(
    adapter: AdapterDirectory,
    predictions: pl.DataFrame,
    splits: Splits,
    config: "FtzardConfig",
    registry: Registry,
    run_id: str,
) -> PromotionVerdict:
    """Judge an adapter beside the champion and the task's baseline, register it, and promote it where the gate says so.

    Args:
        adapter: The challenger.
        predictions: Its answers for `splits.test`.
        splits: What it was trained on, as `train`, and is judged on.
        config: Its sections `data` (for the share of test rows), `evaluation` and `training`.
        registry: Where champions are kept.
        run_id: The MLflow run that is to hold the version.

    Raises:
        PromotionConflictError: The champion changed meanwhile; nothing was promoted.
        FtzardError: As `compare`, `predict` and the registry.
    """
    fingerprint, judging = test_fingerprint(splits.test), judging_of(predictions)
    mine = judging.matched(predictions, splits.test)
    evidence = AdapterEvidence(mine, seen_by(adapter, splits.train, registry))
    champion = registry.champion()
    registered = registry.register(adapter, evidence, test_fingerprint=fingerprint, run_id=run_id)
    if champion is not None and champion.checksum == adapter.checksum:
        already = (f"it is the champion already, version {champion.version}",)
        return PromotionVerdict(
            verdict="keep",
            reasons=already,
            challenger=adapter.checksum,
            challenger_version=registered.version,
            champion=champion.version,
            test_fingerprint=fingerprint,
            num_rows=mine.height,
            num_rows_left_out=0,
            against_champion=None,
            against_baseline=None,
        )
    # What went on from a champion has seen its rows too, also when that champion serves no longer.
    seen, against_champion = evidence.train_hashes, None
    if champion is not None:
        before, name = registry.evidence(champion), f"champion version {champion.version}"
        # Before the champion is scored anew, which would end in a mismatch that tells less.
        judging.check_comparable(mine, before.predictions, name)
        seen = pl.concat([seen, before.train_hashes]).unique()
        theirs = _answers(champion, before, fingerprint, splits, config, registry)
        against_champion = _compared(mine, theirs, seen, name, splits.test, config)
    beside, baseline = judging.baseline(mine, splits, config.evaluation)
    against_baseline = _compared(mine, baseline, seen, beside, splits.test, config)
    num_rows = _unseen(mine, seen).height
    verdict, reasons, more = judging.judge(
        against_champion,
        against_baseline,
        num_rows,
        config.data.test_fraction,
        config.evaluation,
        splits.quarantined.filter(reason=HELD_FOR_TEST).height if config.data.test_split == "frozen" else None,
    )
    if verdict == "promote" and (move := _taken_back(registered, registry.history())) is not None:
        verdict, reasons = "keep", (_told(move), *reasons)
    result = PromotionVerdict(
        verdict=verdict,
        reasons=reasons,
        challenger=adapter.checksum,
        challenger_version=registered.version,
        champion=champion.version if champion else None,
        test_fingerprint=fingerprint,
        num_rows=num_rows,
        num_rows_left_out=mine.height - num_rows,
        against_champion=against_champion,
        against_baseline=against_baseline,
        num_more_labels=more,
    )
    if verdict == "promote":
        registry.promote(registered, instead_of=champion, by="the gate", why=result.sentence)
    return result


def _taken_back(registered: RegisteredAdapter, moves: Sequence[AliasMove]) -> AliasMove | None:
    """The rollback by which a person took the alias from this version, unless somebody gave it back since.

    The gate sees test rows only. Who went back saw something else, and the next run must not undo it.
    """
    concerned = [move for move in moves if registered.version in {move.from_version, move.to_version}]
    last = concerned[-1] if concerned else None
    return last if last and last.kind == "rollback" and last.from_version == registered.version else None


def _told(move: AliasMove) -> str:
    return (
        f"{move.by} went back from this adapter to version {move.to_version} ({move.why}); "
        f"`ftzard champion rollback --to {move.from_version}` gives it the alias again"
    )


def _answers(
    champion: RegisteredAdapter,
    evidence: AdapterEvidence,
    fingerprint: str,
    splits: Splits,
    config: "FtzardConfig",
    registry: Registry,
) -> pl.DataFrame:
    """The champion's answers for the test split of now: those it gave, if the split is the same, else new ones."""
    judging = judging_of(evidence.predictions)
    if champion.test_fingerprint == fingerprint:
        return judging.matched(evidence.predictions, splits.test)
    adapter = registry.load(champion)
    return judging.predict(adapter, splits.test, config_for(adapter, config))


def _compared(
    mine: pl.DataFrame, theirs: pl.DataFrame, seen: pl.Series, name: str, test: pl.DataFrame, config: "FtzardConfig"
) -> AnyComparison:
    return compare_any(_unseen(mine, seen), _unseen(theirs, seen), name, config.evaluation, test)


def _unseen(predictions: pl.DataFrame, seen: pl.Series) -> pl.DataFrame:
    """Without the rows that one of the two was trained on: on those it would only show its memory."""
    return predictions.filter(~pl.col("text_hash").is_in(seen.implode()))
