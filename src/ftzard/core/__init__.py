"""Pure functions and records: no Dagster, MLflow, DVC or Hydra below this point."""
