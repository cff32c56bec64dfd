"""Annotations: the last word counts, the majority decides, ties stay open, and kappa is Cohen's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.annotation_store import write_whole
from ftzard.core.annotations import ANNOTATION_SCHEMA, agreements, cohens_kappa, latest_annotations, resolve

_START = datetime(2026, 1, 1, tzinfo=UTC)

words = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["yes", "no", "maybe"]), st.sampled_from(["anna", "ben", "cem"])),
    max_size=20,
)


def annotations(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Of (row, label, annotator), each a minute after the one before."""
    full = [
        (row, f"text {row}", label, who, _START + timedelta(minutes=minute), "margin", "3")
        for minute, (row, label, who) in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=ANNOTATION_SCHEMA, orient="row")


def test_the_label_that_most_people_gave_is_taken_and_a_tie_is_left_open() -> None:
    resolution = resolve(
        annotations(
            ("a", "yes", "anna"), ("a", "yes", "ben"), ("a", "no", "cem"),
            ("b", "no", "anna"), ("b", "yes", "ben"),
            ("c", "yes", "anna"),
        )
    )  # fmt: skip
    assert resolution.labels.rows() == [("a", "text a", "yes"), ("c", "text c", "yes")]
    assert resolution.ties.rows() == [("b", ["no", "yes"])]


def test_a_person_has_one_vote_and_their_last_word_counts() -> None:
    rows = annotations(("a", "no", "anna"), ("a", "no", "ben"), ("a", "yes", "anna"), ("a", "yes", "cem"))
    assert resolve(rows).labels.rows() == [("a", "text a", "yes")]
    assert resolve(rows.reverse()).labels.rows() == [("a", "text a", "yes")]
    assert latest_annotations(rows).select("annotator", "label").rows() == [
        ("anna", "yes"), ("ben", "no"), ("cem", "yes"),
    ]  # fmt: skip


def test_a_third_opinion_breaks_a_tie() -> None:
    tied = annotations(("b", "no", "anna"), ("b", "yes", "ben"))
    assert resolve(tied).labels.is_empty()
    broken = annotations(("b", "no", "anna"), ("b", "yes", "ben"), ("b", "yes", "cem"))
    assert resolve(broken).labels.rows() == [("b", "text b", "yes")]
    assert resolve(broken).ties.is_empty()


@given(words)
def test_every_row_is_either_resolved_or_tied_and_no_annotations_are_neither(
    rows: list[tuple[str, str, str]],
) -> None:
    resolution = resolve(annotations(*rows))
    resolved, tied = set(resolution.labels["text_hash"]), set(resolution.ties["text_hash"])
    assert resolved | tied == {row for row, _, _ in rows}
    assert not resolved & tied
    assert resolution.labels["text_hash"].is_sorted()


def test_kappa_is_that_of_a_worked_example() -> None:
    # 20 both yes, 5 yes/no, 10 no/yes, 15 both no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)


def test_kappa_is_1_for_agreement_below_0_for_contradiction_and_none_where_chance_explains_it_all() -> None:
    assert cohens_kappa(["yes", "no"], ["yes", "no"]) == 1
    assert cohens_kappa(["yes", "no"], ["no", "yes"]) == -1
    assert cohens_kappa(["yes", "yes"], ["yes", "no"]) == 0
    assert cohens_kappa(["yes", "yes"], ["yes", "yes"]) is None
    assert cohens_kappa([], []) is None
    with pytest.raises(ValueError, match="compared"):
        cohens_kappa(["yes"], [])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_agrees_with_scikit_learn_and_does_not_care_who_is_first(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    first, second = (list(column) for column in zip(*pairs, strict=True))
    kappa = cohens_kappa(first, second)
    assert kappa == cohens_kappa(second, first)
    if kappa is None:
        assert len({*first, *second}) == 1
    else:
        assert kappa == pytest.approx(cohen_kappa_score(first, second))
        assert -1 <= kappa <= 1


def test_agreement_is_measured_on_the_rows_that_both_labelled() -> None:
    rows = annotations(
        ("a", "yes", "ben"), ("a", "yes", "anna"), ("b", "no", "ben"), ("b", "yes", "anna"), ("c", "no", "ben"),
        ("c", "no", "cem"),
    )  # fmt: skip
    with_anna, with_cem = agreements(rows)
    assert (with_anna.annotators, with_anna.num_rows, with_anna.observed) == (("anna", "ben"), 2, 0.5)
    assert with_anna.kappa == 0
    assert (with_cem.annotators, with_cem.num_rows, with_cem.kappa) == (("ben", "cem"), 1, None)
    assert agreements(rows.clear()) == ()


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_is_written_through_no_link(tmp_path: Path, *, replace: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / ".labels.csv.tmp").symlink_to(elsewhere)
    write_whole(tmp_path / "labels.csv", b"labels", replace=replace)
    assert elsewhere.read_text() == "precious"
    assert (tmp_path / "labels.csv").read_bytes() == b"labels"
