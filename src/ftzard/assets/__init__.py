"""The asset graph: plain functions that Dagster runs, thin over `ftzard.core`."""
