"""What became of a file: of labelled rows, of what one person said, or of texts that came in without labels."""

from collections.abc import Iterator

import polars as pl

from ftzard.core.intake import content_key
from ftzard.core.lineage_tree import Lineage, Node, annotator_nodes, batch_nodes
from ftzard.lineage_sources import TABLES, LineageSources

_EXAMPLES = pl.Schema({"text_hash": pl.String, "label": pl.String})


def file_lineage(sources: LineageSources, name: str, kind: str) -> Lineage:
    """Tell where a file comes from and what became of its rows.

    Args:
        sources: Of the project.
        name: Relative to the project folder.
        kind: As in `LineageSources.file_kinds`.

    Raises:
        FtzardError: The file, or what there is of it, cannot be read.
    """
    if kind == "incoming file":
        return _incoming_file(sources, name)
    return _annotations(sources, name) if kind == "annotations" else _batch(sources, name)


def served_nodes(sources: LineageSources, version: str) -> Iterator[Node]:
    """The files that a version predicted, as far as that is in the data of now."""
    for key, frame in sources.frames("incoming_predictions").items():
        if version in frame["champion_version"]:
            name = _incoming_name(sources, key)
            yield Node("incoming file", name, {"rows predicted": frame.height}, tuple(_queue_nodes(sources, key)))


def _batch(sources: LineageSources, name: str) -> Lineage:
    rows = sources.labelled_rows(name)
    hashes = sources.hashes(rows)
    tables = sources.tables()
    labelled = [node for node in batch_nodes(tables, sources.annotations, sources.resolved_name) if node.name == name]
    aside = {table: tables[table].filter(batch=name) for table in ("quarantined", "rejected") if table in tables}
    reasons = {table: frame.group_by("reason").len().sort("reason").iter_rows() for table, frame in aside.items()}
    # Who said what is where the rows come from; the counts are what became of them.
    said = labelled[0].children if labelled else ()
    became = [
        Node("present data", "rows by table", labelled[0].facts if labelled else {"rows": "none"}),
        *(Node(table, reason, {"rows": count}) for table, counts in reasons.items() for reason, count in counts),
        *_taken_out_nodes(sources, "batch", {name}),
        *_commit_nodes(sources, name),
        *_trained_nodes(sources, hashes),
    ]
    queued = [_queue_of(sources, key, hashes) for key in sources.queues] if name != sources.resolved_name else []
    facts = {
        "rows": rows.height,
        "distinct texts": len(hashes),
        "in the data of now": (sources.project_dir / name).exists(),
    }
    return Lineage(Node("batch", name, facts), (*said, *(node for node in queued if node)), tuple(became))


def _annotations(sources: LineageSources, name: str) -> Lineage:
    said = sources.annotation_file(name)
    hashes = set(said["text_hash"])
    people = ", ".join(said["annotator"].unique().sort())
    times = said["annotated_at"].dt.strftime("%Y-%m-%d %H:%M:%S UTC").unique().sort()
    facts = {"annotator": people, "at": ", ".join(times), "rows": said.height}
    queues = [node for key in sources.queues if (node := _queue_of(sources, key, hashes))]
    made_from = [Node("queued by", ", ".join(said["strategy"].unique().sort())), *queues]
    counted = {
        table: frame.filter(pl.col("batch") == sources.resolved_name, pl.col("text_hash").is_in(list(hashes)))
        for table, frame in sources.tables().items()
        if table in TABLES
    }
    agreed = annotator_nodes(said, pl.concat([_EXAMPLES.to_frame(), *(_labels(frame) for frame in counted.values())]))
    became = [
        Node("batch", sources.resolved_name, {table: frame.height for table, frame in counted.items()}, agreed),
        *_taken_out_nodes(sources, "annotator", set(said["annotator"])),
        *_commit_nodes(sources, name),
        *_trained_nodes(sources, hashes),
    ]
    facts["in the data of now"] = (sources.project_dir / name).exists()
    return Lineage(Node("annotations", name, facts), tuple(made_from), tuple(became))


def _incoming_file(sources: LineageSources, name: str) -> Lineage:
    frames, path = sources.frames("incoming"), sources.project_dir / name
    keys = {key for key, frame in frames.items() if name in frame["batch"]}
    # The same content may have come in under another name first.
    keys |= {content_key(path)} & frames.keys() if path.exists() else set()
    became: list[Node] = []
    hashes: set[str] = set()
    for key in sorted(keys):
        hashes |= set(frames[key]["text_hash"])
        predictions = sources.frames("incoming_predictions").get(key)
        if predictions is not None and not predictions.is_empty():
            version = predictions["champion_version"][0]
            became.append(Node("predictions", f"of champion version {version}", {"rows": predictions.height}))
        became += _queue_nodes(sources, key)
    in_splits = {
        table: frame.filter(pl.col("text_hash").is_in(list(hashes))).height
        for table, frame in sources.tables().items()
        if table in TABLES
    }
    if any(in_splits.values()):
        became.append(Node("labelled examples", "of its texts", in_splits))
    became += [*_commit_nodes(sources, name), *_trained_nodes(sources, hashes)]
    facts = {
        "content": ", ".join(sorted(keys)) or "not taken in yet",
        "texts": len(hashes),
        "in the data of now": path.exists(),
    }
    return Lineage(Node("incoming file", name, facts), (), tuple(became))


def _queue_nodes(sources: LineageSources, key: str) -> Iterator[Node]:
    queue = sources.queues.get(key)
    if queue is None:
        return
    labels = pl.concat(
        [_EXAMPLES.to_frame(), *(_labels(frame) for name, frame in sources.tables().items() if name in TABLES)]
    )
    said = sources.annotations.filter(pl.col("text_hash").is_in(queue.rows["text_hash"].implode()))
    # A tie has no label that counts, and was said all the same.
    everything = said.select("text_hash").unique().join(labels, on="text_hash", how="left").select("text_hash", "label")
    control = queue.sidecar.filter(pl.col("arm") == "control").height
    yield Node(
        "label queue",
        f"of {queue.rows.height} row(s)",
        {"drawn at random": control, "labelled by people": said["text_hash"].n_unique()},
        annotator_nodes(said, everything),
    )


def _queue_of(sources: LineageSources, key: str, hashes: set[str]) -> Node | None:
    queue = sources.queues[key]
    shared = len(hashes & set(queue.rows["text_hash"]))
    if not shared:
        return None
    versions = ", ".join(queue.sidecar["champion_version"].unique().sort())
    return Node("incoming file", _incoming_name(sources, key), {"rows queued": shared, "by champion version": versions})


def _incoming_name(sources: LineageSources, key: str) -> str:
    frame = sources.frames("incoming").get(key)
    return key if frame is None or frame.is_empty() else str(frame["batch"][0])


def _commit_nodes(sources: LineageSources, name: str) -> Iterator[Node]:
    presence = sources.log.presence.get(name)
    if presence is not None:
        facts = {"first": presence.first, "newest": presence.newest}
        yield Node("data commits", f"that hold it: {presence.num_commits}", facts)
    if missing := sources.log.num_unlisted:
        yield Node(
            "data commits", f"of which nothing is known here: {missing}", {"get them with": "dvc fetch --all-commits"}
        )


def _taken_out_nodes(sources: LineageSources, kind: str, names: set[str]) -> Iterator[Node]:
    for record in sources.forgettings:
        if record.kind == kind and record.name in names:
            facts = {"labels": record.num_labels, "by": record.by, "because": record.why or None}
            yield Node("taken out", f"{record.at:%Y-%m-%d %H:%M:%S} UTC", facts)


def _trained_nodes(sources: LineageSources, hashes: set[str]) -> Iterator[Node]:
    for version in sources.versions:
        shared = len(hashes & sources.seen(version))
        if shared:
            yield Node("version", f"{version.version} of {version.name}", {"trained on texts of it": shared})


def _labels(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(_EXAMPLES.names())
