"""Train, validation and test: disjoint by content, and the same tomorrow when there is more data.

Each text is drawn for a split by nothing but itself, the seed and the fractions. Texts that are near each other
(`ftzard.core.near_duplicates`), directly or by others between them, form a group, which stays together: it is in train
if one of them was drawn for train, else in validation if one was drawn for that, else in test. So a new text can bring
others of its group, or those of two groups that it bridges, into train, and never out of it: no text that was trained
on is scored on later because of what came after it. Where texts are taken out, those that only they had brought along
go back to what they were drawn for. The price is that texts with many copies are rarer outside of train.

The test split is those texts that a person, or its first use, froze (`ftzard.core.frozen_test`), and nothing moves
into or out of it. Later texts near one of them are quarantined (`in_test_split`), also where they bridge it to others.
Later texts that were drawn for test wait in the quarantine (`held_for_test`) until it is frozen anew: were they trained
on meanwhile, no champion could be compared on them. Without a frozen split, test is what one would hold if it were
frozen now.

A text with several labels, where `data.conflicting_labels` keeps them, is trained on, because no answer to it can be
judged. If it is frozen in the test split, it is quarantined until that is frozen anew.

With `data.group_column` a group is what the column says, and is drawn as a whole; what a group of the test split gets
later waits too. With `data.time_column` the newest share of the examples is test, and a hash draws the others. Neither
lets texts that are near each other stay together, so those are kept apart: what of train is near a text of validation
is quarantined (`in_validation_split`), and so is what of either is near a text of test.

The price of draws by content is exact stratification: to give each split exactly its share of each label, one would
have to count, and then one more example could move another. Instead each label's share is right in expectation, because
the draw does not know the label; with n examples of a label, of which a share p goes to a split, the count is binomial,
with a standard deviation of sqrt(n p (1 - p)). `stratification_error` says how far off it came out.
"""

import hashlib
import itertools
import json
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning import labels_of
from ftzard.core.cleaning_questions import compared_texts
from ftzard.core.label_names import label_counts
from ftzard.core.near_duplicates import is_near
from ftzard.core.records import EXAMPLE_SCHEMA, QUARANTINED_SCHEMA, Splits
from ftzard.core.row_groups import with_groups
from ftzard.core.split_checks import check_frozen, check_sample, check_splits, named_splits
from ftzard.core.split_draws import IN_VALIDATION, draw_splits
from ftzard.core.split_places import keeps_together, settle, settle_first, test_of, with_groups_of
from ftzard.core.text_sketches import Sketches, sketch

# Reasons of the quarantine.
IN_TEST_SPLIT: Final = "in_test_split"
HELD_FOR_TEST: Final = "held_for_test"
# Of fewer rows half would be chance.
_MIN_EXPECTED: Final = 5
_REASONS: Final = (IN_TEST_SPLIT, HELD_FOR_TEST, IN_VALIDATION)


def split(examples: pl.DataFrame, config: DataConfig, frozen: pl.DataFrame | None = None) -> Splits:
    """Split the examples.

    Two independent draws are made for each: one against `sample_fraction`, one for the split. On the line from 0 to 1
    test comes first, then validation, then train: a change of `validation_fraction` does not touch test, and a larger
    `sample_fraction` only adds.

    Args:
        examples: `EXAMPLE_SCHEMA`, in any order.
        config: Gives seed and fractions, and the labels that must occur.
        frozen: The frozen test split, with `text_hash` and `text`; None: what `split_first` returns.

    Returns:
        Disjoint frames; with `sample_fraction` 1 every example is in one of them. `validation` is empty only where
        `validation_fraction` is 0.

    Raises:
        TooFewExamplesError: There are fewer examples than labels, `train` or `test` lacks a label, `validation` is
            empty although it should not be, or nothing of the frozen test split is there.
    """
    return _split(draw_splits(examples, config), config, frozen)[0]


def split_first(examples: pl.DataFrame, config: DataConfig) -> tuple[Splits, pl.DataFrame]:
    """Split the examples of a project that has no test split yet.

    It is drawn from all examples, so that a larger `sample_fraction` finds its share of it frozen already.

    Args:
        examples: `EXAMPLE_SCHEMA`, in any order.
        config: As for `split`.

    Returns:
        The splits, and what is to be frozen: examples, sorted by `text_hash`.

    Raises:
        TooFewExamplesError: As `split`.
    """
    return _split(draw_splits(examples, config), config, None)


def drawn_anew(examples: pl.DataFrame, config: DataConfig, frozen: pl.DataFrame) -> pl.DataFrame:
    """The test split of a project that freezes it anew.

    Args:
        examples: `EXAMPLE_SCHEMA`.
        config: Gives seed and fractions.
        frozen: The test split until now, with `text_hash` and `text`.

    Returns:
        The examples that are frozen and still there, and those that were drawn for test since and are near none of
        them; sorted by `text_hash`. Where none is there, as `split_first`.
    """
    drawn = draw_splits(examples, config)
    is_present = pl.col("text_hash").is_in(frozen["text_hash"].implode()) & pl.col("is_judged")
    present, others = drawn.filter(is_present), drawn.filter(~is_present)
    known, asked = (compared_texts(part["text"], config) for part in (present, others))
    rest = others.filter(~is_near(known, asked, config.near_duplicate_edits))
    rest = with_groups_of(present, rest)
    rest = rest.with_columns(settled=settle_first(rest, sketch(compared_texts(rest["text"], config)), config))
    joining = rest[test_of(rest)]
    return pl.concat([frame.select(EXAMPLE_SCHEMA.names()) for frame in (present, joining)]).sort("text_hash")


def stratification_error(splits: Splits, task: str = "classification") -> float:
    """Say how far the splits are from equal shares of labels.

    Args:
        splits: Of which the quarantine does not count.
        task: `data.task`; where rows have several labels, each has its own share of the rows.

    Returns:
        The largest absolute difference, over splits and labels, between the label's share in the split and its share
        in all splits together; from 0 (exactly stratified) to 1, lower is better. Empty splits do not count; 0 if
        all are empty.
    """
    frames = [frame for _, frame in named_splits(splits) if not frame.is_empty()]
    if not frames:
        return 0.0
    overall = _shares(pl.concat([frame.select("label") for frame in frames]), task)
    shares = [_shares(frame, task) for frame in frames]
    return max((abs(own.get(label, 0.0) - share) for own in shares for label, share in overall.items()), default=0.0)


def shortage(splits: Splits, config: DataConfig) -> str:
    """Say which of validation and test has less than half of the share that is configured for it, and why; or nothing.

    Args:
        splits: As `split_first` returns them.
        config: Gives the fractions.
    """
    num_all = splits.labelled.height
    shares = {"validation": config.validation_fraction, "test": config.test_fraction}
    found = {name: frame.height for name, frame in named_splits(splits) if name in shares}
    short = [
        f"{name} has {found[name]} of {num_all} examples (of data.{name}_fraction={share:g}: {share * num_all:.0f})"
        for name, share in shares.items()
        if share * num_all >= _MIN_EXPECTED and found[name] < share * num_all / 2
    ]
    if not short:
        return ""
    return (
        f"{' and '.join(short)}, and few rows tell little. Texts near each other stay together, in train where "
        "one of them was drawn for it; data.near_duplicate_edits=0 takes only equal ones for the same. The test split "
        "stays as it is until `ftzard splits refreeze`"
    )


def overlap(splits: Splits) -> dict[tuple[str, str], int]:
    """Count the texts that two splits share.

    Returns:
        For each pair of names of splits, the number of distinct `text_hash` in both; 0 is what must be.
    """
    hashes = {name: frame.select("text_hash") for name, frame in named_splits(splits)}
    return {
        (one, other): hashes[one].join(hashes[other], on="text_hash", how="semi")["text_hash"].n_unique()
        for one, other in itertools.combinations(hashes, 2)
    }


def test_fingerprint(test: pl.DataFrame) -> str:
    """Identify a test set by what is in it: SHA-256, in hexadecimal, of its sorted pairs of text hash and label.

    Two evaluations can be compared if their fingerprints are equal; order, batch and row do not matter.
    """
    pairs = sorted(test.select("text_hash", "label").iter_rows())
    return hashlib.sha256(json.dumps(pairs).encode("utf-8")).hexdigest()


def _split(drawn: pl.DataFrame, config: DataConfig, frozen: pl.DataFrame | None) -> tuple[Splits, pl.DataFrame]:
    """Splits of drawn examples, and the test split before any sample is taken of it."""
    labels = labels_of(drawn, config)
    check_sample(int(drawn["is_sampled"].sum()), drawn.height, labels, config)
    rows, known = _settled(drawn, config, frozen)
    named = drawn.select(EXAMPLE_SCHEMA.names())
    parts = {part: named[numbers["number"]] for (part,), numbers in rows.group_by("part", maintain_order=True)}
    empty = named.clear()
    quarantined = [parts.get(reason, empty).with_columns(reason=pl.lit(reason)) for reason in _REASONS]
    splits = Splits(
        **{name: parts.get(name, empty) for name in ("train", "validation")},
        test=with_groups(parts.get("test", empty), drawn),
        quarantined=pl.concat([QUARANTINED_SCHEMA.to_frame(), *quarantined]).sort("text_hash", "batch", "row", "label"),
    )
    held = None if frozen is None or config.test_split != "frozen" else parts.get(HELD_FOR_TEST, empty)
    check_splits(splits, labels, config, held)
    return splits, known


def _settled(drawn: pl.DataFrame, config: DataConfig, frozen: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """As `_placed`, and the test split; the sketches of all texts, which are large, end with this."""
    tokens, rows = sketch(compared_texts(drawn["text"], config)), _numbered(drawn)
    if frozen is None:
        rows = rows.with_columns(settled=settle_first(rows, tokens, config))
        numbers = test_of(rows)
        known, known_texts = drawn.select(EXAMPLE_SCHEMA.names())[numbers], tokens.take(numbers.to_numpy())
        is_known = rows["number"].is_in(numbers.implode())
    else:
        check_frozen(frozen, drawn)
        known, known_texts = frozen, sketch(compared_texts(frozen["text"], config), tokens.order)
        is_known = drawn["text_hash"].is_in(frozen["text_hash"].implode())
    # What has several labels is not judged, and a copy of itself.
    rows = rows.with_columns(is_test=is_known & drawn["is_judged"])
    return _placed(rows, known_texts, tokens, config), known


def _placed(rows: pl.DataFrame, known: Sketches, tokens: Sketches, config: DataConfig) -> pl.DataFrame:
    """The sampled rows with the `part` that each belongs to: a split, or a reason why it is in none."""
    others = rows.filter(pl.col("is_sampled") & ~pl.col("is_test"))
    test = rows.filter(pl.col("is_sampled") & pl.col("is_test")).select("number", part=pl.lit("test"))
    if "settled" in rows.columns and keeps_together(config) and rows["is_sampled"].all():
        # The test split has just been made of what is near to none of these, and what they settled on stays.
        return pl.concat([test, others.select("number", part=pl.col("settled").cast(pl.String))])
    is_copy = is_near(known, tokens.take(others["number"].to_numpy()), config.near_duplicate_edits)
    rest = with_groups_of(rows.filter("is_test"), others.filter(~is_copy))
    places = settle(rest, tokens.take(rest["number"].to_numpy()), config).cast(pl.String)
    copies = others.filter(is_copy).select("number", part=pl.lit(IN_TEST_SPLIT))
    held = pl.when(places == "test").then(pl.lit(HELD_FOR_TEST)).otherwise(places)
    return pl.concat([test, copies, rest.select("number", part=held)])


def _numbered(drawn: pl.DataFrame) -> pl.DataFrame:
    """What places are made by, without the texts, which are only looked up in the end."""
    names = [name for name in ("place", "is_judged", "is_sampled", "group") if name in drawn.columns]
    return drawn.select(pl.int_range(pl.len()).alias("number"), *names)


def _shares(frame: pl.DataFrame, task: str) -> dict[str, float]:
    return {label: count / frame.height for label, count in label_counts(frame["label"], task).items()}
