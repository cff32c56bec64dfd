"""The section `tracking`: where MLflow runs go."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Name, PageUrl, PositiveFloat, ProjectPath, without_password


@dataclass(frozen=True, config=STRICT)
class TrackingConfig:
    """Where MLflow runs go."""

    # A relative SQLite path is taken from the project folder, never from the current directory.
    tracking_uri: Name = "sqlite:///mlflow.db"
    # For SQLite stores; a tracking server says itself where its artifacts are.
    artifact_dir: ProjectPath = "mlartifacts"
    experiment: Name = "ftzard"
    # Where adapters are registered; its alias `champion` is the adapter that serves.
    registered_model: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "ftzard"
    request_timeout_s: PositiveFloat = 10.0
    # Seconds between two samples of processor, memory, disk, network and GPU; None takes none.
    system_metrics_interval_s: PositiveFloat | None = 10.0
    # Where the pages are that the two link to, by default where `dagster dev` and `mlflow ui` have them; None links to
    # nothing. A tracking server has its pages at its own address.
    dagster_url: PageUrl | None = "http://127.0.0.1:3000"
    mlflow_url: PageUrl | None = "http://127.0.0.1:5000"

    @property
    def pages_url(self) -> str | None:
        """Where MLflow's pages are."""
        return self.tracking_uri if self.tracking_uri.startswith(("http://", "https://")) else self.mlflow_url

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_password(cls, tracking_uri: str) -> str:
        return without_password(tracking_uri, "give it by MLFLOW_TRACKING_PASSWORD")

    @field_validator("dagster_url", "mlflow_url")
    @classmethod
    def _shows_no_password(cls, url: str | None) -> str | None:
        return url and without_password(url, "a link is seen by everyone; the browser asks for it")
