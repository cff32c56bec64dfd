"""The code location of the compose deployment: the project's own configuration, tracked on the MLflow server."""  # noqa: INP001  (a file given to Dagster by path, in no package)

from ftzard import build_definitions

defs = build_definitions(["tracking.tracking_uri=http://mlflow:5000"], automation=True)
