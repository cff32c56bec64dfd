"""What a thing was made from and what was made from it, as a tree: records in, nodes out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ftzard.core.annotations import latest_annotations
from ftzard.core.champion_records import AliasMove

_INDENT = "  "
_SHORT_ID = 12
# Ids that a person is shown the beginning of; JSON has them whole.
_ID_KINDS = frozenset({"data commit", "MLflow run", "splits"})
_ID_FACTS = frozenset(
    {"adapter", "commit", "Dagster run", "data version", "data hash", "data commit", "first", "newest"}
)


@dataclass(frozen=True)
class Node:
    """A thing, what is known of it, and what belongs below it.

    Attributes:
        kind: What it is, in words.
        name: Which one.
        facts: Name -> a JSON value; None: not known, and not shown.
        children: What lies below it.
    """

    kind: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    children: tuple["Node", ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The node and all below it as JSON types."""
        below = [child.to_dict() for child in self.children]
        known = {key: value for key, value in self.facts.items() if value is not None}
        return {"kind": self.kind, "name": self.name, "facts": known, "children": below}

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The node and all below it for a person."""
        name = self.name[:_SHORT_ID] if self.kind in _ID_KINDS else self.name
        facts = [_fact(key, value) for key, value in self.facts.items() if value is not None]
        yield f"{_INDENT * depth}{self.kind} {_plain(name)}{': ' if facts else ''}{', '.join(facts)}"
        for child in self.children:
            yield from child.lines(depth + 1)


@dataclass(frozen=True)
class Lineage:
    """A thing with both directions.

    Attributes:
        thing: Itself.
        made_from: What it was made from.
        became: What was made from it, and what became of it.
    """

    thing: Node
    made_from: tuple[Node, ...]
    became: tuple[Node, ...]

    def to_dict(self) -> dict[str, Any]:
        """The lineage as JSON types."""
        sides = {"made_from": self.made_from, "became": self.became}
        return {**self.thing.to_dict(), **{side: [node.to_dict() for node in nodes] for side, nodes in sides.items()}}

    def lines(self) -> Iterator[str]:
        """The lineage for a person."""
        yield from self.thing.lines()
        for title, nodes in (("made from", self.made_from), ("became", self.became)):
            yield f"{title}:{'' if nodes else ' nothing that is known'}"
            for node in nodes:
                yield from node.lines(1)


def batch_nodes(tables: Mapping[str, pl.DataFrame], annotations: pl.DataFrame, resolved_name: str) -> tuple[Node, ...]:
    """The files that the rows of some tables are from, with how many are in which.

    Args:
        tables: Name -> a frame with `batch`, and with `text_hash` and `label` where it has cleaned examples.
        annotations: `ANNOTATION_SCHEMA`, of the same time.
        resolved_name: The file with what the majority says; below it stand those who said it.
    """
    names = sorted({batch for frame in tables.values() for batch in frame["batch"].unique()})
    nodes = []
    for name in names:
        own = {table: frame.filter(pl.col("batch") == name) for table, frame in tables.items()}
        examples = [frame.select("text_hash", "label") for frame in own.values() if "text_hash" in frame.columns]
        said = annotator_nodes(annotations, pl.concat(examples).unique()) if name == resolved_name and examples else ()
        nodes.append(Node("batch", name, {table: frame.height for table, frame in own.items()}, said))
    return tuple(nodes)


def annotator_nodes(annotations: pl.DataFrame, examples: pl.DataFrame) -> tuple[Node, ...]:
    """Who labelled some examples, and how often as the majority did.

    Args:
        annotations: `ANNOTATION_SCHEMA`.
        examples: Columns `text_hash` and `label`, the label that counts.
    """
    said = latest_annotations(annotations).join(examples, on="text_hash", suffix="_counts")
    agreed = pl.col("label") == pl.col("label_counts")
    counts = said.group_by("annotator").agg(rows=pl.len(), as_labelled=agreed.sum()).sort("annotator")
    return tuple(
        Node("annotator", name, {"rows": rows, "with the label that counts": as_labelled})
        for name, rows, as_labelled in counts.iter_rows()
    )


def tenure_nodes(moves: Sequence[AliasMove], version: str) -> tuple[Node, ...]:
    """Each time that a version was champion.

    Args:
        moves: Of the alias, oldest first.
        version: The version.
    """
    ends = [*moves[1:], None]
    return tuple(
        Node(
            "champion",
            f"from {move.at:%Y-%m-%d %H:%M:%S} UTC",
            {"until": f"{end.at:%Y-%m-%d %H:%M:%S} UTC" if end else "now", "by": move.by, "because": move.why},
        )
        for move, end in zip(moves, ends, strict=True)
        if move.to_version == version
    )


def _fact(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return f"{key} {' '.join(f'{name} {_plain(one)}' for name, one in value.items()) or 'none'}"
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"{key} {_plain(text[:_SHORT_ID] if key in _ID_FACTS else text)}"


def _plain(value: object) -> str:
    """On one line and without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
