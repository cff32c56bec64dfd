"""The Dagster instance of a project, and the settings it starts with."""

import os
from pathlib import Path

import dagster as dg
import yaml

from ftzard.errors import ConfigError

DAGSTER_DIR = ".dagster"
DAGSTER_YAML = """\
# Dagster on one machine. `ftzard` writes this file into a project that has none; what you change here stays.
telemetry:
  enabled: false
concurrency:
  # Without a limit a pool admits everybody. One slot per pool: a step with pool="gpu" has the GPU to itself.
  pools:
    default_limit: 1
    granularity: op
    op_granularity_run_buffer: 1
  runs:
    max_concurrent_runs: 4
run_monitoring:
  enabled: true
  poll_interval_seconds: 60
  # A killed run keeps its pool slots until they are freed here; otherwise the pool waits for it for ever.
  free_slots_after_run_end_seconds: 60
  max_runtime_seconds: 86400
run_retries:
  # Crashes are retried once, those of runs that the sensors started more often (`ftzard.automation`); a step that
  # raised says something that a second try would only repeat.
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false
"""

# As much of what Dagster says as names the key and what is expected.
_SAID = 400


def project_instance(project_dir: Path) -> dg.DagsterInstance:
    """The Dagster instance of a project: `DAGSTER_HOME` where it is set, else `.dagster/` in the project.

    Raises:
        ConfigError: `DAGSTER_HOME` names no directory, or Dagster refuses the `dagster.yaml` there.
    """
    if home := os.environ.get("DAGSTER_HOME"):
        if not Path(home).is_dir():
            msg = f"DAGSTER_HOME names no directory: {home}."
            raise ConfigError(msg, fix="Make it with mkdir, or unset DAGSTER_HOME to use the project's own .dagster/.")
        return _opened(Path(home))
    own = project_dir.resolve() / DAGSTER_DIR
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "dagster.yaml").exists():
        (own / "dagster.yaml").write_text(DAGSTER_YAML, encoding="utf-8")
    return _opened(own)


def _opened(home: Path) -> dg.DagsterInstance:
    file = home / "dagster.yaml"
    try:
        return dg.DagsterInstance.from_config(str(home))
    except (dg.DagsterInvalidConfigError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{file} is not as Dagster wants it: {said[:_SAID]}",
            fix="correct it, or delete it: where the project's own .dagster/ has none, a new one is written",
        ) from error
