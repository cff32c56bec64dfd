"""FTzard in a code location that already uses `dagster_mlflow.mlflow_tracking`.

The two share a process and no state: FTzard's steps have runs of their own under one parent per step, and the legacy
resource keeps its one active run per Dagster run. Both may name the same store; here each has its own.

    dagster dev -f examples/beside_dagster_mlflow.py
"""
# ruff: noqa: INP001  # a code location that Dagster loads by its path, no module of a package

import dagster as dg
from dagster_mlflow import mlflow_tracking

from ftzard import build_definitions


@dg.asset(deps=["raw_data"], required_resource_keys={"mlflow"})
def batch_report(context: dg.AssetExecutionContext) -> None:
    """What somebody's own code logs with MLflow's fluent API, through the legacy resource."""
    context.resources.mlflow.log_params({"looked_at": "raw_data"})
    # The legacy resource leaves its run open otherwise.
    context.resources.mlflow.end_run()


# One object alone, because Dagster refuses a file with several `Definitions` at its top level.
defs = dg.Definitions.merge(
    build_definitions(["experiment=tiny"]),
    dg.Definitions(
        assets=[batch_report],
        jobs=[dg.define_asset_job("ingest_and_report", selection=dg.AssetSelection.assets("raw_data", "batch_report"))],
        resources={
            "mlflow": mlflow_tracking.configured(
                {
                    "experiment_name": "own",
                    "mlflow_tracking_uri": "sqlite:///own_mlflow.db",
                    "env": {},
                    "extra_tags": {},
                }
            )
        },
    ),
)
