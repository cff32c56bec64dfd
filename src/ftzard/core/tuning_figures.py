"""Pictures of a study, as `ftzard.core.figures` draws them."""

from collections.abc import Mapping, Sequence

import numpy as np

from ftzard.core.drawing import BLUE, GREY, ORANGE, add_legend, canvas, plain, png
from ftzard.core.hyperparameters import TrialSummary

_METRIC_NAMES = {
    "macro_f1": "macro-F1",
    "loss": "loss in nats",
    "preference_accuracy": "share of chosen answers that are likelier",
}


def study_history(trials: Sequence[TrialSummary], *, metric: str) -> bytes:
    """Draw each trial's score and the best one so far; a trial that was given up stands with its last score.

    Args:
        trials: In the order of their numbers, at least one with a score.
        metric: As of `TunedHyperparameters`.

    Raises:
        ValueError: No trial has a score.
    """
    scored = {
        state: [(trial.number, trial.score) for trial in trials if trial.state == state and trial.score is not None]
        for state in ("complete", "pruned")
    }
    if not any(scored.values()):
        message = "a study's history needs at least one trial with a score"
        raise ValueError(message)
    figure, axes = canvas(f"{len(trials)} trials on the validation split")
    for state, colour in (("complete", BLUE), ("pruned", GREY)):
        if scored[state]:
            numbers, scores = zip(*scored[state], strict=True)
            axes.plot(numbers, scores, "o" if state == "complete" else "x", color=colour, label=state)
    if scored["complete"]:
        numbers, scores = zip(*scored["complete"], strict=True)
        best = (np.minimum if metric == "loss" else np.maximum).accumulate(scores)
        axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
    axes.set_xlabel("trial")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel(_METRIC_NAMES[metric])
    axes.grid(alpha=0.3)
    add_legend(axes)
    return png(figure)


def parameter_importances(importances: Mapping[str, float]) -> bytes:
    """Draw each key's share in what makes trials differ.

    Args:
        importances: Key -> share, sum 1; at least one.

    Raises:
        ValueError: There are none.
    """
    if not importances:
        message = "importances need at least one key"
        raise ValueError(message)
    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure, axes = canvas("What made the trials differ (fANOVA)")
    bars = axes.barh(range(len(ordered)), [share for _, share in ordered], color=BLUE)
    axes.bar_label(bars, labels=[f"{share:.0%}" for _, share in ordered], padding=3, fontsize=8)
    axes.set_yticks(range(len(ordered)), labels=[plain(key) for key, _ in ordered], parse_math=False)
    axes.set_xlabel("share of the score's variance")
    axes.margins(x=0.12)
    return png(figure)
