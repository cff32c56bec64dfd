"""What a person asks of the champion: which one serves, since when and why; and to have the one before it back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ftzard.composition import compose
from ftzard.core.answer_predictions import task_of_predictions
from ftzard.core.champion_records import AliasMove, RegisteredAdapter
from ftzard.core.generation_evaluation import mean_scores
from ftzard.core.metrics import accuracy, confusion_matrices, macro_f1
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.set_evaluation import set_scores
from ftzard.errors import ConfigError
from ftzard.resources.git import person, redact
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

_NOBODY = """\
{name} has no champion yet.
Materialize `champion`: the first adapter becomes one unless it is shown to be worse than TF-IDF
(for generation and preference: than the same model untrained)."""
_REFUSED = """\
{name} has no champion yet. The gate's verdict on the newest adapter: {verdict}"""
_GATE_STEP = "CHOOSE_BEST_MODEL"
_OUTSIDE = "somebody moved the alias `champion` in MLflow itself"


def describe_champion(project_dir: Path, overrides: Sequence[str] = ()) -> str:
    """Tell which version serves, what it was judged on, and every move of the alias.

    Args:
        project_dir: The project folder.
        overrides: In Hydra's grammar.

    Raises:
        ConfigError: The configuration is invalid.
        RegistryVersionError: The alias is at a version that FTzard did not register.
        StorageError: The evidence of the champion was changed.
        TrackingError: The store cannot be reached or refuses.
    """
    registry = _registry(project_dir, overrides)
    store = registry.tracking.store_file
    # Looking must not make a store.
    is_empty = store is not None and not store.exists()
    champion = None if is_empty else registry.champion()
    where = f"MLflow: {redact(registry.tracking.tracking_uri)}"
    if champion is None:
        verdict = "" if is_empty else _newest_verdict(registry)
        told = _REFUSED.format(name=registry.name, verdict=verdict) if verdict else _NOBODY.format(name=registry.name)
        return f"{told}\n{where}"
    moves = registry.history()
    return "\n".join([*_facts(registry, champion, moves), where, "", "Moves of the alias:", *map(_line, moves)])


def rollback_champion(
    project_dir: Path, overrides: Sequence[str] = (), *, to: str | None = None, why: str, by: str | None = None
) -> RegisteredAdapter:
    """Move the alias `champion` back, and write down who did it and why.

    Args:
        project_dir: The project folder.
        overrides: In Hydra's grammar.
        to: The version to go to; None: the one that the champion was promoted over.
        why: Why, in words.
        by: Who; None: git's user name in the project, else the login.

    Returns:
        The champion from now on.

    Raises:
        ConfigError: The configuration is invalid, or there is no reason.
        FtzardError: As `AdapterRegistry.rollback`.
    """
    if not why.strip():
        raise ConfigError("a rollback needs a reason", fix='say why: --why "it fails on questions"')
    name = by if by is not None and by.strip() else person(project_dir)
    return _registry(project_dir, overrides).rollback(to=to, by=_plain(name), why=_plain(why))


def _registry(project_dir: Path, overrides: Sequence[str]) -> AdapterRegistry:
    return AdapterRegistry(Tracking(compose(overrides, project_dir=project_dir).tracking, project_dir))


def _newest_verdict(registry: AdapterRegistry) -> str:
    """What the gate said of the adapter that it looked at last; empty where it looked at none."""
    judged = [run for run in registry.tracking.runs() if run.step == _GATE_STEP and run.status == "FINISHED"]
    if not judged:
        return ""
    with registry.tracking.connected() as client:
        return _plain(client.get_run(judged[-1].run_id).data.tags.get("ftzard.sentence", ""))


def _facts(registry: AdapterRegistry, champion: RegisteredAdapter, moves: Sequence[AliasMove]) -> list[str]:
    last = moves[-1] if moves and moves[-1].to_version == champion.version else None
    champions = f"{last.at:%Y-%m-%d %H:%M:%S} UTC by {_plain(last.by)}" if last else _OUTSIDE
    return [
        f"{champion.name} version {champion.version}",
        f"  adapter      {champion.checksum}",
        f"  registered   {champion.created_at:%Y-%m-%d %H:%M:%S} UTC, MLflow run {champion.run_id}",
        f"  champion     {champions}",
        *([f"  because      {_plain(last.why)}"] if last else []),
        f"  scores       {_scores(registry, champion)}",
        f"  test split   {champion.test_fingerprint}",
    ]


def _scores(registry: AdapterRegistry, champion: RegisteredAdapter) -> str:
    """As measured when it was registered; another test split may say otherwise."""
    predictions = registry.evidence(champion).predictions
    if predictions.is_empty():
        return "none, it was judged on no rows"
    task = task_of_predictions(predictions)
    if task != "classification":
        scores_of = set_scores if task == "multi_label" else mean_scores
        told = ", ".join(f"{name.replace('_', ' ')} {score:.3f}" for name, score in scores_of(predictions).items())
        return f"{told} on {predictions.height} test rows of its time"
    labels = labels_of_predictions(predictions)
    position = {label: index for index, label in enumerate(labels)}
    true, predicted = (
        np.array([position[label] for label in predictions[column]], dtype=np.int64)
        for column in ("label", "predicted_label")
    )
    confusion = confusion_matrices(true, predicted, len(labels))
    scores = f"macro-F1 {float(macro_f1(confusion)):.3f}, accuracy {float(accuracy(confusion)):.3f}"
    return f"{scores} on {predictions.height} test rows of its time"


def _line(move: AliasMove) -> str:
    before = move.from_version or "-"
    who, why = _plain(move.by), _plain(move.why)
    return f"  {move.at:%Y-%m-%d %H:%M:%S}  {move.kind:<9}  {before:>3} -> {move.to_version:<3}  {who}: {why}"


def _plain(text: str) -> str:
    """On one line and without control characters: who writes to the store does not command the terminal."""
    decoded = text.encode("utf-8", "replace").decode()
    return " ".join("".join(letter if letter.isprintable() else " " for letter in decoded).split())
