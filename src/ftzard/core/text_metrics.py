"""Metrics of what a model writes, each a number for every row, so that the bootstrap only has to average.

Nothing here hides a failure in a number: an empty input raises.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from ftzard.core.metrics import FloatArray

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def exact_matches(predictions: Sequence[str], references: Sequence[str]) -> FloatArray:
    """Whether each answer is the one that was asked for, after SQuAD's normalisation.

    Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP 2016, section 6.1.

    Args:
        predictions: What was written, n texts.
        references: What was asked for, n texts.

    Returns:
        Shape (n,), 0 or 1, higher is better.

    Raises:
        ValueError: There are no rows, or not as many of the one as of the other.
    """
    _check(predictions, references)
    pairs = zip(predictions, references, strict=True)
    return np.array([normalised(one) == normalised(other) for one, other in pairs], dtype=np.float64)


def token_f1(predictions: Sequence[str], references: Sequence[str]) -> FloatArray:
    """How many words each answer shares with the one that was asked for, as in SQuAD.

    The harmonic mean of the share of its words that are in the reference and of the reference's words that are in it,
    words counted as often as they occur (Rajpurkar et al. 2016, section 6.1). Where one of the two has no word after
    the normalisation, 1 if both have none, else 0 (the evaluation script of SQuAD 2.0).

    Args:
        predictions: What was written, n texts.
        references: What was asked for, n texts.

    Returns:
        Shape (n,), range 0 to 1, higher is better.

    Raises:
        ValueError: There are no rows, or not as many of the one as of the other.
    """
    _check(predictions, references)
    pairs = zip(predictions, references, strict=True)
    return np.array([_f1(normalised(one).split(), normalised(other).split()) for one, other in pairs])


def chrf(predictions: Sequence[str], references: Sequence[str]) -> FloatArray:
    """How many character n-grams each answer shares with the one that was asked for: chrF2, by sacrebleu.

    Popovic, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; n-grams of up to 6 characters,
    recall weighing twice. Of each row by itself, so that a mean over rows is not the corpus score that sacrebleu
    prints for a file.

    Args:
        predictions: What was written, n texts.
        references: What was asked for, n texts.

    Returns:
        Shape (n,), range 0 to 1 (sacrebleu's own is 0 to 100), higher is better; 0 for an empty answer.

    Raises:
        ValueError: There are no rows, or not as many of the one as of the other.
    """
    from sacrebleu.metrics.chrf import CHRF

    _check(predictions, references)
    metric = CHRF()
    pairs = zip(predictions, references, strict=True)
    return np.array([metric.sentence_score(one, [other]).score / 100 for one, other in pairs], dtype=np.float64)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and the articles a, an and the; words one space apart (SQuAD)."""
    without_punctuation = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def preferences(chosen: FloatArray, rejected: FloatArray) -> FloatArray:
    """Whether a model finds the chosen answer of each pair likelier than the rejected one.

    Args:
        chosen: Log-probabilities of the chosen answers, shape (n,).
        rejected: Of the rejected ones.

    Returns:
        Shape (n,): 1 where it does, 0.5 where it finds both as likely, else 0; higher is better.
    """
    return np.asarray(np.sign(chosen - rejected) / 2 + 0.5)


def _f1(predicted: list[str], asked: list[str]) -> float:
    if not predicted or not asked:
        return float(predicted == asked)
    num_shared = (Counter(predicted) & Counter(asked)).total()
    # The harmonic mean of num_shared / len(predicted) and num_shared / len(asked).
    return 2 * num_shared / (len(predicted) + len(asked))


def _check(predictions: Sequence[str], references: Sequence[str]) -> None:
    if len(predictions) != len(references) or not references:
        message = f"{len(predictions)} answer(s) do not fit {len(references)} reference(s), at least one"
        raise ValueError(message)
