"""Every failure FTzard raises on purpose.

One class per failure, so that a caller can catch the one it can handle. A message names the culprit (file, row, key)
and what to do about it.
"""


class FtzardError(Exception):
    """A failure with a known remedy.

    Args:
        what: What went wrong and where: the file, row or key, and the value found there.
        fix: What the person can do about it.
    """

    def __init__(self, what: str, *, fix: str) -> None:
        """Keep both halves: a user interface shows them apart, `str` shows them together."""
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        """What went wrong, then what to do about it."""
        return f"{self.what}\n  To fix it: {self.fix}"


class ConfigError(FtzardError):
    """A key, value or combination of values in the configuration is not allowed."""


class MissingPackageError(FtzardError):
    """An optional package that the configuration asks for is not installed."""


class NoBatchesError(FtzardError):
    """The data folders hold no file of a known kind."""


class DatasetNotFoundError(FtzardError):
    """A dataset that was to be imported, or what was asked for of it, cannot be loaded."""


class EmptyBatchError(FtzardError):
    """A batch file holds no rows."""


class MalformedBatchError(FtzardError):
    """A batch file cannot be parsed as what its name says it is."""


class BatchEncodingError(FtzardError):
    """A batch file's bytes are not text in the declared or detected encoding."""


class MissingColumnError(FtzardError):
    """A batch file lacks a column that the configuration names."""


class UnknownLabelError(FtzardError):
    """A row carries a label outside the configured label set."""


class NoExamplesError(FtzardError):
    """No row is left after cleaning."""


class TooFewExamplesError(FtzardError):
    """There are too few rows, in all or of one label, for the split that was asked for."""


class SingleClassError(FtzardError):
    """All rows carry the same label, so there is nothing to learn."""


class ModelNotFoundError(FtzardError):
    """The base model cannot be loaded from where the configuration says it is."""


class NotACausalLanguageModelError(FtzardError):
    """The base model exists and is something else than a causal language model."""


class AdapterCorruptError(FtzardError):
    """An adapter directory lacks a file or a file's checksum differs from its manifest."""


class AdapterMismatchError(FtzardError):
    """An adapter was made for another base model or another label set."""


class DoesNotFitError(FtzardError):
    """By the estimate, the device has less memory than a run needs; nothing was loaded."""


class OutOfMemoryError(FtzardError):
    """Memory ran out, and computing fewer tokens at once does not help."""


class TrainingDivergedError(FtzardError):
    """The training loss is no longer a finite number."""


class TrainingProcessError(FtzardError):
    """A process of a training was killed, crashed, could not be started or took too long."""


class StorageError(FtzardError):
    """An asset cannot be written to or read from the project's data folder."""


class SchemaViolationError(StorageError):
    """A frame that crosses an asset edge has other columns, types or values than it may have."""


class NotAGitRepositoryError(FtzardError):
    """The project folder is not inside a git repository, or git is not installed."""


class NotADvcRepositoryError(FtzardError):
    """The project folder is a git repository without DVC."""


class DataCommitError(FtzardError):
    """DVC or git refused a data commit; the data on disk is untouched."""


class SecretExposedError(FtzardError):
    """A password or a token is where it would be read by others: in a URL, or in a file that git keeps."""


class PushError(FtzardError):
    """Nothing can be pushed to a remote before the person has changed its configuration."""


class PushPendingError(PushError):
    """A remote did not take what was pushed; the local commit stands, and what is not pushed is remembered."""


class RemoteUnavailableError(PushPendingError):
    """A remote did not take what was pushed, and may take it a little later."""


class TrackingError(FtzardError):
    """The MLflow tracking store cannot be reached or refused a call."""


class TrackingUnavailableError(TrackingError):
    """The MLflow tracking server does not answer."""


class InvalidPredictionsError(FtzardError):
    """Predictions hold something that cannot be judged: logits that are not finite, or other columns than agreed."""


class PredictionsMismatchError(FtzardError):
    """Predictions and test examples are not the same rows with the same labels."""


class UnknownRowError(FtzardError):
    """A file with labels holds a row that no label queue does."""


class ConflictingLabelsError(FtzardError):
    """One annotator's file gives a row several labels."""


class AnnotatorNameError(FtzardError):
    """An annotator's name cannot be part of a file's name."""


class UnknownSourceError(FtzardError):
    """No label of the project is from the annotator or the file that was named."""


class OutputExistsError(FtzardError):
    """A file that would be written exists already, and somebody may have worked in it."""


class RegistryVersionError(FtzardError):
    """A version in the model registry is missing, or is none that FTzard registered."""


class PromotionConflictError(FtzardError):
    """Somebody else moved the alias `champion` first."""


class LabelSetChangedError(FtzardError):
    """The champion answers with other labels than the challenger, so that the two cannot be compared."""


class NoChampionError(FtzardError):
    """There is no champion to serve with."""


class TuningStorageError(FtzardError):
    """The storage of Optuna's studies cannot be reached or refused a call."""


class NoFinishedTrialError(FtzardError):
    """No trial of a study came to its end, so that there is nothing to choose from."""


class FrozenTestError(FtzardError):
    """There is no frozen test split that could be frozen anew, or nothing of it would change."""
