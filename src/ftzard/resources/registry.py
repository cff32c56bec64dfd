"""Adapters in MLflow's model registry: versions, the alias `champion`, and every move of it.

A version is what a run holds as plain artifacts: the adapter's directory (safetensors and JSON) and, beside it, the
evidence it was judged on (Parquet). Nothing in it is a pickle or a flavour of MLflow's, and it comes back by download
and checksum. Only the client API is used: a `models:/` URI would be resolved by MLflow's process-wide settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from ftzard.core.adapter import verify_reference
from ftzard.core.champion_records import AdapterEvidence, AliasMove, RegisteredAdapter
from ftzard.core.records import AdapterDirectory
from ftzard.errors import PromotionConflictError, RegistryVersionError
from ftzard.resources.alias_history import AliasHistory
from ftzard.resources.registered_artifacts import ADAPTER_FOLDER, RegisteredArtifacts
from ftzard.resources.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
CHECKSUM_TAG = "ftzard.checksum"
TEST_FINGERPRINT_TAG = "ftzard.test_fingerprint"
EVIDENCE_TAG = "ftzard.evidence"


@dataclass(frozen=True)
class AdapterRegistry:
    """The registered model `tracking.registered_model` of one tracking store.

    Args:
        tracking: The store.
    """

    tracking: Tracking

    @property
    def name(self) -> str:
        """The registered model."""
        return self.tracking.config.registered_model

    def champion(self) -> RegisteredAdapter | None:
        """The version that serves; None where there is none.

        Raises:
            RegistryVersionError: The alias is at a version that FTzard did not register.
            TrackingError: The store cannot be reached or refuses.
        """
        with self.tracking.connected() as client:
            version = self._champion_version(client)
            return None if version is None else self._require(client, version)

    def versions(self) -> tuple[RegisteredAdapter, ...]:
        """Every version that FTzard registered, oldest first.

        Raises:
            TrackingError: The store cannot be reached or refuses.
        """
        with self.tracking.connected() as client:
            found = [self._registered(version) for version in _all_versions(client, self.name)]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: int(one.version)))

    def register(
        self, adapter: AdapterDirectory, evidence: AdapterEvidence, *, test_fingerprint: str, run_id: str
    ) -> RegisteredAdapter:
        """Make an adapter a version, or find the version that it already is.

        Args:
            adapter: Verified here.
            evidence: What it was judged on.
            test_fingerprint: Of the test split that it was judged on.
            run_id: The MLflow run that is to hold adapter and evidence.

        Raises:
            AdapterCorruptError: The directory is not what its manifest or the reference says.
            TrackingError: The store cannot be reached or refuses.
        """
        verify_reference(adapter)
        if (existing := self._version_of(adapter.checksum)) is not None:
            return existing
        run_id = self.tracking.server_id(run_id)
        digest = RegisteredArtifacts(self.tracking).upload(adapter, evidence, run_id)
        with self._lock():
            # Another process may have registered it meanwhile.
            if (existing := self._version_of(adapter.checksum)) is not None:
                return existing
            with self.tracking.connected() as client:
                if not client.search_registered_models(f"name = '{self.name}'"):
                    client.create_registered_model(self.name, description="Adapters registered by FTzard.")
                version = client.create_model_version(
                    self.name,
                    source=f"{client.get_run(run_id).info.artifact_uri}/{ADAPTER_FOLDER}",
                    run_id=run_id,
                    tags={
                        CHECKSUM_TAG: adapter.checksum,
                        TEST_FINGERPRINT_TAG: test_fingerprint,
                        EVIDENCE_TAG: digest,
                    },
                )
                return self._require(client, str(version.version))

    def promote(
        self, challenger: RegisteredAdapter, *, instead_of: RegisteredAdapter | None, by: str, why: str
    ) -> None:
        """Move the alias to a challenger that was compared with a champion.

        Of several promotions at once on one host, or on hosts that share the lock's folder, exactly one wins. A
        tracking server knows no compare-and-set: of promotions from several hosts that fall within the milliseconds
        between comparing and moving, the last one holds the alias, and one that finds itself overwritten when it looks
        again is told so; the history keeps who moved it.

        Args:
            challenger: The version to promote.
            instead_of: The champion it was compared with; None where there was none.
            by: Who promotes.
            why: The verdict, in words.

        Raises:
            PromotionConflictError: The champion is no longer `instead_of`; the alias is where the other moved it.
            TrackingError: The store cannot be reached or refuses.
        """
        expected = None if instead_of is None else instead_of.version
        with self._lock(), self.tracking.connected() as client:
            self._check_champion(client, expected)
            self._move(client, "promotion", expected, challenger.version, by=by, why=why)

    def rollback(self, *, to: str | None, by: str, why: str) -> RegisteredAdapter:
        """Move the alias back.

        Args:
            to: The version to move it to; None: the one that the champion was promoted over or, where it never was
                promoted, the one that a person moved the alias from.
            by: Who moves it.
            why: Why, in words.

        Returns:
            The champion from now on.

        Raises:
            RegistryVersionError: There is no such version, or it is the champion already.
            PromotionConflictError: Somebody on another host moved the alias at the same moment.
            TrackingError: The store cannot be reached or refuses.
        """
        with self._lock(), self.tracking.connected() as client:
            current = self._champion_version(client)
            target = self._require(client, to or self._before(client, current))
            if target.version == current:
                raise RegistryVersionError(
                    f"version {current} of {self.name} is the champion already",
                    fix="give another version with --to; `ftzard champion` lists them",
                )
            self._move(client, "rollback", current, target.version, by=by, why=why)
            return target

    def history(self) -> tuple[AliasMove, ...]:
        """Every move of the alias that FTzard made, oldest first.

        Raises:
            TrackingError: The store cannot be reached or refuses, or what it holds is no history.
        """
        with self.tracking.connected() as client:
            return AliasHistory(client, self.name).moves()

    def load(self, registered: RegisteredAdapter) -> AdapterDirectory:
        """The adapter of a version, in `.ftzard/registry/<checksum>/` of the project: downloaded once, verified always.

        Raises:
            AdapterCorruptError: What was downloaded, or the copy that lies there, is not what was registered.
            TrackingError: The store cannot be reached or refuses.
        """
        return RegisteredArtifacts(self.tracking).load(registered)

    def evidence(self, registered: RegisteredAdapter) -> AdapterEvidence:
        """What a version was judged on.

        Raises:
            StorageError: What the store holds is not what was registered.
            TrackingError: The store cannot be reached or refuses.
        """
        with self.tracking.connected() as client:
            digest = client.get_model_version(self.name, registered.version).tags.get(EVIDENCE_TAG)
        return RegisteredArtifacts(self.tracking).evidence(registered, digest)

    def _version_of(self, checksum: str) -> RegisteredAdapter | None:
        return next((one for one in self.versions() if one.checksum == checksum), None)

    def _champion_version(self, client: "MlflowClient") -> str | None:
        models = client.search_registered_models(f"name = '{self.name}'")
        version = models[0].aliases.get(ALIAS) if models else None
        return None if version is None else str(version)

    def _check_champion(self, client: "MlflowClient", expected: str | None) -> None:
        found = self._champion_version(client)
        if found != expected:
            raise PromotionConflictError(
                f"the champion of {self.name} is {_told(found)} by now, and the challenger was compared with "
                f"{_told(expected)}",
                fix="materialize `champion` again: the challenger is then compared with the champion of now",
            )

    def _move(
        self, client: "MlflowClient", kind: Literal["promotion", "rollback"], before: str | None, to: str, *,
        by: str, why: str,
    ) -> None:  # fmt: skip
        """Write the move down, make it, and look whether it held; what did not happen is not left written down."""
        history = AliasHistory(client, self.name)
        key = history.append(AliasMove(datetime.now(UTC), kind, before, to, by, why))
        try:
            client.set_registered_model_alias(self.name, ALIAS, to)
            self._check_champion(client, to)
        except BaseException:
            history.remove(key)
            raise

    def _before(self, client: "MlflowClient", current: str | None) -> str:
        moves = [move for move in AliasHistory(client, self.name).moves() if move.to_version == current]
        # Going back twice goes back two promotions. What a person moved the alias to was promoted over nothing: there
        # it goes back to whoever served until then.
        last = next((move for move in reversed(moves) if move.kind == "promotion"), moves[-1] if moves else None)
        over = last.from_version if last else None
        if over is None:
            raise RegistryVersionError(
                f"{self.name} has no champion{'' if current is None else f' before {_told(current)}'}",
                fix="name one of its versions with --to, or materialize `champion` where there is none",
            )
        return over

    def _require(self, client: "MlflowClient", version: str) -> RegisteredAdapter:
        known = {str(one.version): one for one in _all_versions(client, self.name)}
        registered = self._registered(known[version]) if version in known else None
        if registered is None:
            problem = "is none that FTzard registered" if version in known else "does not exist"
            raise RegistryVersionError(
                f"version {version!r} of the registered model {self.name} {problem}",
                fix="move the alias to a version that `ftzard champion` lists: `ftzard champion rollback --to VERSION`",
            )
        return registered

    def _registered(self, version: "ModelVersion") -> RegisteredAdapter | None:
        if CHECKSUM_TAG not in version.tags:
            return None
        created_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        return RegisteredAdapter(
            self.name,
            str(version.version),
            version.tags[CHECKSUM_TAG],
            created_at,
            str(version.run_id),
            version.tags.get(TEST_FINGERPRINT_TAG, ""),
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while the registry is changed."""
        path = self._lock_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path, is_singleton=True):
            yield

    def _lock_path(self) -> Path:
        """Beside a store that several projects may share, else in the project."""
        project, store = self.tracking.project_dir.resolve(), self.tracking.store_file
        if store is not None and not store.resolve().is_relative_to(project):
            return store.with_name(f"{store.name}.ftzard.lock")
        return project / ".ftzard" / "registry.lock"


def _all_versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _told(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
