"""What a version, a run, a data commit or a file was made from, and what was made from it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ftzard.composition import compose
from ftzard.core.adapter_documents import SPLITS_KEY
from ftzard.core.champion_records import RegisteredAdapter
from ftzard.core.lineage_tree import Lineage, Node, batch_nodes, tenure_nodes
from ftzard.core.retraining import FORGOTTEN_KEY, PREDECESSOR_KEY
from ftzard.errors import RegistryVersionError, StorageError
from ftzard.file_lineage import file_lineage, served_nodes
from ftzard.history import HistoryEntry
from ftzard.lineage_sources import LineageSources
from ftzard.references import find_git_commit, find_run, find_version, matching_names
from ftzard.resources.tracking import RunSummary


def show(project_dir: Path, thing: str, overrides: Sequence[str] = ()) -> Lineage:
    """Tell where a thing comes from and what became of it; nothing in the project changes.

    Args:
        project_dir: The project folder.
        thing: A registered version, `champion`, an MLflow run, a git commit, or a file: a batch, a label file, an
            import of annotations or an incoming file, by its path or its name.
        overrides: In Hydra's grammar.

    Raises:
        RegistryVersionError: The name is none of these, or more than one.
        FtzardError: What there is cannot be read.
    """
    sources = LineageSources(project_dir, compose(overrides, project_dir=project_dir))
    version = find_version(sources.registry, thing) if sources.has_store else None
    if version is not None:
        return _version(sources, version)
    run = find_run(sources.tracking, thing) if sources.has_store else None
    commit = find_git_commit(project_dir, thing)
    kinds = sources.file_kinds(of_any_time=run is None and commit is None)
    files = matching_names(project_dir, thing, kinds)
    named = [*([f"the MLflow run {run.run_id}"] if run else []), *([f"the commit {commit}"] if commit else []), *files]
    if len(named) != 1:
        what = "nothing" if not named else f"{len(named)} things: {', '.join(named)}"
        raise RegistryVersionError(
            f"{thing!r} names {what}; tried versions of {sources.registry.name}, the alias `champion`, MLflow runs, "
            "git commits and files of the data",
            fix="name a version, more digits of a run or commit (`ftzard history` lists them), or a file's whole path"
            f"{_unlisted(sources)}",
        )
    if run is not None:
        return _run(sources, run)
    return _commit(sources, commit) if commit else file_lineage(sources, files[0], kinds[files[0]])


def _unlisted(sources: LineageSources) -> str:
    number = sources.log.num_unlisted
    fetch = "`dvc fetch --all-commits` brings them"
    return f"; the lists of files of {number} data commit(s) are not in DVC's cache: {fetch}" if number else ""


def _version(sources: LineageSources, version: RegisteredAdapter) -> Lineage:
    manifest = sources.manifests[version.version]
    facts = {"adapter": version.checksum, "registered": f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"}
    base = manifest.base_model
    training = [one for one in sources.history if (one.asset, one.data_version) == ("lora_adapter", version.checksum)]
    judged = [one for one in sources.history if one.mlflow_run_id == version.run_id]
    made_from = [
        _splits_node(sources, manifest.provenance),
        Node("base model", base.name, {"revision": base.revision, "sha256": base.sha256}),
        *_predecessor(sources, manifest.provenance, manifest.config),
        *map(_entry_node, training),
    ]
    became = [
        *map(_entry_node, [*_scores_before(sources.history, judged), *judged]),
        *_verdicts(sources, version),
        *tenure_nodes(sources.moves, version.version),
        *served_nodes(sources, version.version),
        *_followers(sources, version.checksum),
    ]
    return Lineage(Node("version", f"{version.version} of {version.name}", facts), tuple(made_from), tuple(became))


def _splits_node(sources: LineageSources, provenance: Mapping[str, str]) -> Node:
    commit = provenance.get("data_commit", "")
    try:
        tables, annotations = sources.committed(commit)
    except StorageError as error:
        # The rest can be told all the same, as in a clone without the data.
        return Node("data commit", commit, {"rows": f"not to be had here: {error.what}"})
    splits = {name: tables[name] for name in ("train", "validation", "test") if name in tables}
    below = batch_nodes(splits, annotations, sources.resolved_name)
    heights = {name: frame.height for name, frame in splits.items()}
    return Node(
        "data commit", commit, {}, (Node("splits", provenance.get(SPLITS_KEY, "of no version"), heights, below),)
    )


def _predecessor(
    sources: LineageSources, provenance: Mapping[str, str], config: Mapping[str, Mapping[str, object]]
) -> Iterator[Node]:
    checksum = provenance.get(PREDECESSOR_KEY)
    if checksum is None:
        return
    retraining = config.get("training", {}).get("retraining")
    is_continued = isinstance(retraining, Mapping) and retraining.get("start_from") == "champion"
    forgotten = provenance.get(FORGOTTEN_KEY)
    start = "its weights" if is_continued and forgotten is None else "the base model"
    before = next((one.version for one in sources.versions if one.checksum == checksum), "which is not registered")
    facts = {"adapter": checksum, "training started from": start, "labels of it that were taken out": forgotten}
    yield Node("champion before", f"version {before}", facts)


def _scores_before(history: Iterable[HistoryEntry], judged: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """The predictions and the report that a verdict rests on: the latest of its time."""
    if not judged:
        return []
    before = {one.asset: one for one in history if one.time <= judged[0].time}
    return [before[asset] for asset in ("predictions", "metrics") if asset in before]


def _verdicts(sources: LineageSources, version: RegisteredAdapter) -> Iterator[Node]:
    run = find_run(sources.tracking, version.run_id)
    sentence = sources.run(run).tags.get("ftzard.sentence") if run else None
    if sentence:
        yield Node("verdict", sentence)


def _followers(sources: LineageSources, checksum: str) -> Iterator[Node]:
    for later in sources.versions:
        if sources.manifests[later.version].provenance.get(PREDECESSOR_KEY) == checksum:
            yield Node("version", f"{later.version} of {later.name}", {"adapter": later.checksum})


def _run(sources: LineageSources, summary: RunSummary) -> Lineage:
    details = sources.run(summary)
    tags, made = details.tags, [one for one in sources.history if one.mlflow_run_id == summary.run_id]
    facts = {
        "step": summary.step,
        "asset": tags.get("ftzard.asset"),
        "started": summary.name,
        "status": summary.status,
        "Dagster run": tags.get("ftzard.dagster_run_id"),
        "commit": tags.get("current_full_commit_id"),
        "data version": tags.get("ftzard.data_version"),
    }
    read = {key.removeprefix("ftzard.read."): value for key, value in tags.items() if key.startswith("ftzard.read.")}
    before = [one for one in sources.history if not made or one.time <= made[0].time]
    made_from = [_read_node(before, asset, version, details.datasets) for asset, version in sorted(read.items())]
    written = [one for one in details.datasets if one.get("context") == "written"]
    became = [
        *(Node("data commit", one.get("data commit", ""), {"data hash": one.get("data hash")}) for one in written),
        *(Node("verdict", sentence) for sentence in [tags.get("ftzard.sentence")] if sentence),
        *(
            _version_node(one)
            for one in sources.versions
            if one.run_id == summary.run_id or one.checksum in {entry.data_version for entry in made}
        ),
        *_readers(sources, tags.get("ftzard.asset", ""), tags.get("ftzard.data_version", "")),
    ]
    return Lineage(Node("MLflow run", summary.run_id, facts), tuple(made_from), tuple(became))


def _read_node(before: Iterable[HistoryEntry], asset: str, version: str, datasets: Iterable[Mapping[str, str]]) -> Node:
    read = next((one for one in datasets if (one["asset"], one.get("context")) == (asset, "read")), {})
    makers = [one for one in before if (one.asset, one.data_version) == (asset, version)]
    facts = {"data version": version, "data commit": read.get("data commit"), "data hash": read.get("data hash")}
    return Node("asset", asset, facts, tuple(_entry_node(one) for one in makers[-1:]))


def _commit(sources: LineageSources, commit_id: str) -> Lineage:
    commit = sources.log.commit(commit_id)
    facts = {
        "says": commit.subject,
        "by": commit.author,
        "at": f"{commit.at:%Y-%m-%d %H:%M:%S%z}",
        "data hash": sources.log.data_hash(commit_id),
    }
    makers = [one for one in sources.history if one.commit_id == commit_id]
    said = [Node(key, value) for key, value in commit.trailers.items()] if not makers else []
    rows = list(_rows(sources, commit_id))
    made = {one.data_version for one in makers}
    became = [
        *(
            _version_node(one)
            for one in sources.versions
            if one.checksum in made or sources.manifests[one.version].provenance.get("data_commit") == commit_id
        ),
        *(node for one in makers for node in _readers(sources, one.asset, one.data_version or "")),
    ]
    return Lineage(Node("data commit", commit_id, facts), (*map(_entry_node, makers), *said, *rows), tuple(became))


def _rows(sources: LineageSources, commit_id: str) -> Iterator[Node]:
    try:
        tables, annotations = sources.committed(commit_id)
    except StorageError as error:
        yield Node("rows", f"not to be had here: {error.what}")
        return
    if tables:
        heights = {name: frame.height for name, frame in tables.items()}
        yield Node("rows", "by table", heights, batch_nodes(tables, annotations, sources.resolved_name))


def _version_node(version: RegisteredAdapter) -> Node:
    return Node("version", f"{version.version} of {version.name}", {"adapter": version.checksum})


def _readers(sources: LineageSources, asset: str, data_version: str) -> Iterator[Node]:
    """The runs that read what was made."""
    if not (asset and data_version and sources.has_store):
        return
    made = {one.mlflow_run_id: one for one in sources.history}
    for run in sources.runs_that_read(asset, data_version):
        entry = made.get(run.run_id)
        facts = {"step": run.step, "asset": entry.asset if entry else None, "status": run.status}
        yield Node("MLflow run", run.run_id, {**facts, "commit": entry.commit_id if entry else None})


def _entry_node(entry: HistoryEntry) -> Node:
    facts = {
        "asset": entry.asset,
        "file": entry.partition,
        "at": f"{entry.time:%Y-%m-%d %H:%M:%S} UTC",
        "rows": entry.num_rows,
        "verdict": entry.verdict,
        "commit": entry.commit_id,
        "Dagster run": entry.dagster_run_id,
    }
    return Node("MLflow run", entry.mlflow_run_id or "unknown", facts)
