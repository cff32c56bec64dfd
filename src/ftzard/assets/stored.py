"""Which materialization wrote what is stored now.

Dagster knows the latest materialization of an asset. What lies in the data folder is another's where the person has
checked out a branch, or an earlier commit, since.
"""

from collections.abc import Iterable, Mapping

import dagster as dg

from ftzard.assets.pipeline import Pipeline
from ftzard.resources.stored_files import STORED_KEY

_PAGE = 100


def stored_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, content: str | None = None
) -> dg.AssetMaterialization | None:
    """The newest materialization of an asset that stored this content.

    Args:
        instance: Dagster's, which may be younger than the data.
        key: The asset.
        content: What stands for it in the data folder (`DvcRepository.stored_contents`). None: nothing is known of it,
            and the latest materialization counts, as it does where that one did not say what it stored.

    Returns:
        None where no materialization of this instance did, such as where it came from a colleague.
    """
    event = instance.get_latest_materialization_event(key)
    latest = event.asset_materialization if event else None
    if latest is None or content is None or _stored(latest) in {None, content}:
        return latest
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            found = record.asset_materialization
            if found is not None and _stored(found) == content:
                return found
        if not page.has_more:
            return None
        cursor = page.cursor


def data_version(materialization: dg.AssetMaterialization | None) -> str | None:
    """The content version that a materialization gave its asset; None where there is none."""
    return (materialization.tags or {}).get("dagster/data_version") if materialization else None


def input_versions(
    instance: dg.DagsterInstance, pipeline: Pipeline, names: Iterable[str], contents: Mapping[str, str]
) -> dict[str, str]:
    """The data versions of assets as they are stored, of those where it is known.

    Args:
        instance: Dagster's.
        pipeline: Whose assets they are.
        names: Without the pipeline's prefix.
        contents: What stands for each in the data folder.
    """
    found = {
        name: data_version(stored_materialization(instance, pipeline.asset_key(name), contents.get(name)))
        for name in names
    }
    return {name: version for name, version in found.items() if version is not None}


def _stored(materialization: dg.AssetMaterialization) -> str | None:
    entry = materialization.metadata.get(STORED_KEY)
    return None if entry is None else str(entry.value)
