"""Continual fine-tuning of LLMs as Dagster assets."""
