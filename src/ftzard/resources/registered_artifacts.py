"""What a registered version consists of, as artifacts of a run: up, and down again past every check."""

import hashlib
import re
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ftzard.core.adapter import verify_adapter
from ftzard.core.answer_predictions import answers_with_labels, check_answers
from ftzard.core.champion_records import SEEN_SCHEMA, AdapterEvidence, RegisteredAdapter
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.records import AdapterDirectory
from ftzard.errors import AdapterCorruptError, InvalidPredictionsError, StorageError
from ftzard.resources.tracking import Tracking

# Folders among the run's artifacts, and the files of the second.
ADAPTER_FOLDER = "adapter"
_EVIDENCE = "evidence"
# MLflow shows its schema beside the version; it names no flavour, so that nothing of MLflow's loads or runs it.
_SIGNATURE = "MLmodel"
_PREDICTIONS, _SEEN = "predictions.parquet", "train_hashes.parquet"
# A checksum becomes the name of a folder, and it comes from a store that others write to.
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RegisteredArtifacts:
    """The adapters and the evidence in one tracking store, and the copies of adapters in the project.

    Args:
        tracking: The store.
    """

    tracking: Tracking

    def upload(self, adapter: AdapterDirectory, evidence: AdapterEvidence, run_id: str) -> str:
        """Log adapter and evidence to a run; returns the digest of the evidence."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            evidence.predictions.write_parquet(folder / _PREDICTIONS)
            evidence.seen.write_parquet(folder / _SEEN)
            # At once or not at all: a version must never name artifacts that are still to come.
            with self.tracking.connected() as client:
                _write_signature(folder / _SIGNATURE, evidence.predictions, run_id)
                client.log_artifact(run_id, str(folder / _SIGNATURE), ADAPTER_FOLDER)
                (folder / _SIGNATURE).unlink()
                client.log_artifacts(run_id, str(adapter.path), ADAPTER_FOLDER)
                client.log_artifacts(run_id, str(folder), _EVIDENCE)
            return _digest(folder)

    def load(self, registered: RegisteredAdapter) -> AdapterDirectory:
        """Download once, verify always.

        Raises:
            AdapterCorruptError: What was downloaded, or the copy that lies there, is not what was registered.
            TrackingError: The store cannot be reached or refuses.
        """
        folder = self.tracking.project_dir / ".ftzard" / "registry"
        target = folder / _checked_name(registered)
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            # A name of its own, so that what a killed download left behind is in nobody's way.
            temporary = folder / f".{uuid.uuid4().hex}.tmp"
            try:
                downloaded = self._download(registered, ADAPTER_FOLDER, temporary)
                (downloaded / _SIGNATURE).unlink(missing_ok=True)
                check_checksum(verify_adapter(downloaded), registered.checksum)
                _rename_unless_present(downloaded, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return _verified_copy(target, registered.checksum)

    def evidence(self, registered: RegisteredAdapter, digest: str | None) -> AdapterEvidence:
        """Download and check.

        Args:
            registered: The version.
            digest: What `upload` returned when it was registered; None where nobody wrote it down.

        Raises:
            StorageError: What the store holds is not what was registered.
            TrackingError: The store cannot be reached or refuses.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = self._download(registered, _EVIDENCE, Path(scratch) / "download")
            try:
                if _digest(folder) != digest:
                    raise _evidence_error(registered, "its checksum is another one")
                predictions = pl.read_parquet(folder / _PREDICTIONS)
                _check_columns(predictions)
                # Earlier versions of FTzard kept the hashes of the texts alone.
                seen = pl.read_parquet(folder / _SEEN, schema=SEEN_SCHEMA, missing_columns="insert")
            except (OSError, pl.exceptions.PolarsError, InvalidPredictionsError) as error:
                raise _evidence_error(registered, str(error).partition("\n")[0]) from error
        return AdapterEvidence(predictions, seen)

    def _download(self, registered: RegisteredAdapter, artifact: str, folder: Path) -> Path:
        folder.mkdir(parents=True)
        with self.tracking.connected() as client:
            return Path(client.download_artifacts(registered.run_id, artifact, str(folder)))


def check_checksum(found: AdapterDirectory, expected: str) -> None:
    """Check that a verified adapter is the one that is meant.

    Raises:
        AdapterCorruptError: It is another one.
    """
    if found.checksum != expected:
        raise AdapterCorruptError(
            f"the adapter {found.path} has the checksum {found.checksum}, and {expected} was expected",
            fix="restore the version that is meant, or train the adapter again",
        )


def _check_columns(predictions: pl.DataFrame) -> None:
    if answers_with_labels(predictions):
        labels_of_predictions(predictions)
    else:
        check_answers(predictions)


def _write_signature(path: Path, predictions: pl.DataFrame, run_id: str) -> None:
    """What the adapter takes and answers: a text, and the predicted label with a probability for each, or an answer."""
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Object, Property

    outputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "prediction")]
    if answers_with_labels(predictions):
        labels = labels_of_predictions(predictions)
        probabilities = Object([Property(label, DataType.double) for label in labels])
        outputs = [ColSpec(DataType.string, "predicted_label"), ColSpec(probabilities, "probabilities")]
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema(outputs))
    Model(artifact_path=ADAPTER_FOLDER, run_id=run_id, signature=signature).save(str(path))


def _checked_name(registered: RegisteredAdapter) -> str:
    if not _CHECKSUM.fullmatch(registered.checksum):
        raise AdapterCorruptError(
            f"version {registered.version} of {registered.name} is tagged with the checksum {registered.checksum!r}, "
            "which is no SHA-256",
            fix="move the champion to another version: `ftzard champion rollback --to VERSION`",
        )
    return registered.checksum


def _rename_unless_present(source: Path, target: Path) -> None:
    """Another process may have brought the same adapter meanwhile; both are verified, so either will do."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _verified_copy(path: Path, checksum: str) -> AdapterDirectory:
    try:
        adapter = verify_adapter(path)
        check_checksum(adapter, checksum)
    except AdapterCorruptError as error:
        raise AdapterCorruptError(
            f"the copy of a registered adapter was changed: {error.what}",
            fix=f"delete the folder {path}; it is then downloaded again",
        ) from error
    return adapter


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _evidence_error(registered: RegisteredAdapter, problem: str) -> StorageError:
    return StorageError(
        f"the evidence of version {registered.version} of {registered.name} cannot be used: {problem}",
        fix="restore the artifacts of its run, or move the champion: `ftzard champion rollback --to VERSION`",
    )
