"""The tree of a lineage: from frames and moves to nodes, and what a person and a program are shown of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from ftzard.core.annotations import ANNOTATION_SCHEMA
from ftzard.core.champion_records import AliasMove
from ftzard.core.lineage_tree import Lineage, Node, annotator_nodes, batch_nodes, tenure_nodes

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _said(*words: tuple[str, str, str]) -> pl.DataFrame:
    rows = [
        (text, "", label, who, _NOON + timedelta(hours=hour), "", "") for hour, (who, text, label) in enumerate(words)
    ]
    return pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row")


def _examples(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["text_hash", "label", "batch"], orient="row")


def test_the_rows_of_each_file_are_counted_and_people_stand_below_the_majority() -> None:
    tables = {"train": _examples(("a", "yes", "one"), ("b", "no", "all")), "test": _examples(("c", "no", "all"))}
    said = _said(("anna", "b", "no"), ("ben", "b", "yes"), ("ben", "c", "no"), ("cem", "x", "no"))
    one, other = batch_nodes(tables, said, "all")[::-1]
    assert (one.name, one.facts, one.children) == ("one", {"train": 1, "test": 0}, ())
    assert other.facts == {"train": 1, "test": 1}
    assert [(node.name, *node.facts.values()) for node in other.children] == [("anna", 1, 1), ("ben", 2, 1)]


def test_the_last_word_of_a_person_counts() -> None:
    said = _said(("anna", "a", "no"), ("anna", "a", "yes"))
    examples = _examples(("a", "yes", "x")).select("text_hash", "label")
    assert [node.facts for node in annotator_nodes(said, examples)] == [{"rows": 1, "with the label that counts": 1}]


def test_a_version_can_have_been_champion_more_than_once() -> None:
    def move(hour: int, to: str) -> AliasMove:
        return AliasMove(_NOON + timedelta(hours=hour), "promotion", None, to, "Ada", "why")

    times = [(node.name, node.facts["until"]) for node in tenure_nodes([move(0, "1"), move(1, "2"), move(2, "1")], "1")]
    assert times == [
        ("from 2026-01-01 12:00:00 UTC", "2026-01-01 13:00:00 UTC"),
        ("from 2026-01-01 14:00:00 UTC", "now"),
    ]


def test_a_person_is_shown_short_ids_and_no_control_characters_and_a_program_everything() -> None:
    facts: dict[str, Any] = {"commit": "f" * 40, "because": "one\ntwo\x1b[2J", "not known": None, "there": True}
    found = Lineage(Node("MLflow run", "a" * 32, facts), (), (Node("batch", "x\x07"),))
    assert list(found.lines()) == [
        f"MLflow run {'a' * 12}: commit {'f' * 12}, because one two [2J, there yes",
        "made from: nothing that is known",
        "became:",
        "  batch x",
    ]
    told = found.to_dict()
    assert (told["name"], told["facts"]["commit"], told["facts"]["there"]) == ("a" * 32, "f" * 40, True)
    assert "not known" not in told["facts"]
    assert [node["name"] for node in told["became"]] == ["x\x07"]
