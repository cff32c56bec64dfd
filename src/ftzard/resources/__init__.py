"""One module per thing integrated: the configuration, git and DVC, MLflow."""
