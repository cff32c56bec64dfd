"""The texts of a new project: its configuration, with what the person said about their data, and its README."""

import math
import re

import yaml

from ftzard.config import TrackingConfig
from ftzard.core.label_sets import SEPARATOR
from ftzard.labelled_file import ANSWER_STEPS, AnswerColumns, LabelColumns, LabelledFile
from ftzard.project_template import CONFIG, primary_config

# About as many as the demo has, which two CPU cores train on in minutes.
_NUM_FIRST_EXAMPLES = 2000
# What OmegaConf takes for a value that is still to come, however it is written.
_MISSING = "???"
_INTERPOLATION = re.compile(r"(\\*)\$\{")

_DATA = """\
# ftzard materialize data=own_files
# How the files in data/raw/ and data/labelled/ are read: CSV, TSV, JSONL or Parquet, with these columns in each.
text_column: {text_column}
{context}{label_columns}
{task}{labels}
# More that can be said, here with its defaults; `ftzard config` prints everything.
# encoding: auto
# delimiter: auto
# label_mapping: {{}}   # what a file says -> the label, for example {{"0": negative, "4": positive}}
# cleaning_steps: [unicode_nfc, collapse_whitespace]
# max_quarantined_fraction: 0.05   # of the rows of a file, which may be set aside because they cannot be used
"""
_SEVERAL_LABELS = """\
# A text can have any number of labels, `|` between them in its cell; `none` says that it has none of them.
task: multi_label
"""
_LABELS_IN_COLUMNS = """\
# A text can have any number of labels, each with a column of 1 (the text has it) and 0.
task: multi_label
"""
_SEPARATED_BY = """\
# What separates labels beside `|`.
label_separator: {label_separator}
"""
_ANY_LABEL = """\
# The labels that may occur; without this list any label is taken.
# labels: [negative, positive]"""
_THESE_LABELS = """\
# A row with another label is set aside, and named; of a file with many of them nothing is used. Without this list any
# label is taken.
labels:
{labels}"""
_ANSWER_DATA = """\
# ftzard materialize data=own_files
# How the files in data/raw/ and data/labelled/ are read: {kinds}, with {these} in each.
task: {task}
{columns}
# Line breaks in prompts are kept; answers only ever lose the whitespace around them.
cleaning_steps: [{steps}]
# More that can be said, here with its defaults; `ftzard config` prints everything.
# near_duplicate_edits: 2   # prompts that so many edited words turn into each other stay in one split; 0: equal ones do
# max_quarantined_fraction: 0.05   # of the rows of a file, which may be set aside because they cannot be read
"""
_ANSWER_EXPERIMENT = """\
# @package _global_
# ftzard materialize experiment=first
# The first experiment: a model of 135M parameters that comes with a Python package, minutes on two CPU cores.
defaults:
  - override /model: smollm2_135m_gguf
model:
  # Tokens of prompt and answer together: a longer answer is cut at its end, a prompt that leaves no room is left out.
  max_length: 256
  generation:
    # Tokens of an answer that the model writes, at most.
    max_new_tokens: 64
    # Words around each prompt, which is put in the place of {{text}}; not for messages:
    # prompt_template: "Answer in one word: {{text}}"
data:
  # {sampling}
  sample_fraction: {sample_fraction}
training:
  learning_rate: {learning_rate}
tracking:
  # The experiment in MLflow that the runs stand under.
  experiment: {name}
"""
# DPO goes astray with what is good for learning to write.
_LEARNING_RATES = {"generation": "5e-4", "preference": "5e-5"}
_EXPERIMENT = """\
# @package _global_
# ftzard materialize experiment=first
# The first experiment: a model of 135M parameters that comes with a Python package, minutes on two CPU cores.
defaults:
  - override /model: smollm2_135m_gguf
  # On a CUDA GPU with 16 GB or more, a larger model from the hub, in 4 bit:
  # - override /model: llama3_8b_nf4
model:
  # It ends where the label would come.
  prompt_template: "Text: {{text}}\\nLabel ({{labels}}):"
  # Tokens of prompt and text together: longer texts are cut, shorter ones train faster.
  max_length: 128
  # A word for each label that does not say what it means:
  # label_words: {{"1": bad, "5": good}}
data:
  # {sampling}
  sample_fraction: {sample_fraction}
training:
  learning_rate: 1e-3
tracking:
  # The experiment in MLflow that the runs stand under.
  experiment: {name}
"""
_TRACKING = """\
tracking:
  # The registered model in MLflow whose alias `champion` is the adapter that serves: on a tracking server that projects
  # share, each needs one of its own.
  registered_model: {model}
"""
_NOT_IN_MODEL_NAMES = re.compile(r"[^\w.-]+")
_README = """\
# {name}

A project of FTzard: {what} in, a fine-tuned adapter and honest numbers out.

## First

{first}
```sh
ftzard materialize    # reads, cleans, splits, trains, evaluates: what has changed since the last time, and only that
dagster dev           # the same by itself, with pictures: http://127.0.0.1:3000
mlflow ui --backend-store-uri sqlite:///mlflow.db    # runs, metrics, adapters: http://127.0.0.1:5000
```

With `dagster dev` running nothing needs a click: the first training begins when there is data.

## Then

| you put | into | and get |
|---|---|---|
{then}
```sh
{queue}ftzard champion           # who serves, and why
ftzard history            # what was materialized, with rows, commits and runs
ftzard checkout COMMIT --to DIR    # the data of any day
```

## What is where

| | |
|---|---|
| `conf/data/own_files.yaml` | the columns and labels of your files, and how they are read and cleaned |
| `conf/experiment/first.yaml` | the first experiment: model, prompt, share of the data, learning rate |
| `conf/config.yaml` | what is chosen; FTzard's own `conf/` fills in what is not here, `ftzard config` prints it all |
| `data/` | the data, kept by DVC: each step makes a git commit of `data.dvc` alone |
| `.dagster/`, `mlflow.db`, `mlartifacts/` | the stores of Dagster and MLflow, which git ignores |
| `.env` | says where Dagster's store is; not in git, so write it again in a clone: `DAGSTER_HOME=${{PWD}}/.dagster` |

A value for once is an override: `ftzard materialize training.learning_rate=5e-4`.
Data is pushed to DVC's default remote where there is one: `dvc remote add --default store URL`.
"""
_LABELS_COME_BACK = """\
| a file with labels | `data/raw/` | a decision; if it is time, a trained adapter, its scores, perhaps a new champion |
| a file without labels | `data/incoming/` | the champion's predictions, and a queue of the rows worth a label |
| the queue with its labels | `data/labelled/` | the next decision, with the new labels counted |
"""
_QUEUE = "ftzard labels export      # the queue, as a file to be labelled\n"
_ANSWERS_COME = """\
| prompts with answers | `data/raw/` | a decision; if it is time, an adapter, its scores, perhaps a new champion |
| prompts alone | `data/incoming/` | the champion's answers |
"""
_HAS_DATA = "Your {what} are in `data/raw/`.\n"
_LACKS_DATA = """\
Put a file with {what} (CSV, TSV, JSONL, Parquet) into `data/raw/`, and write the names of its columns into
`conf/data/own_files.yaml`.
"""


def conf_files(name: str, columns: LabelColumns, labelled: LabelledFile | None) -> dict[str, str]:
    """The project's `conf/`, by path.

    Args:
        name: The project's, under which its runs stand in MLflow.
        columns: Those of texts and of labels.
        labelled: The labelled texts that it begins with, if there are any.
    """
    task = _LABELS_IN_COLUMNS if columns.are_marks else "" if columns.separator is None else _SEVERAL_LABELS
    if columns.separator not in {None, SEPARATOR}:
        task += _SEPARATED_BY.format(label_separator=_scalar(str(columns.separator)))
    of_labels = f"label_column: {_scalar(columns.labels[0])}"
    if columns.are_marks:
        of_labels = "\n".join(["label_columns:", *(f"  - {_scalar(column)}" for column in columns.labels)])
    labels = _ANY_LABEL
    if these := configured_labels(labelled):
        labels = _THESE_LABELS.format(labels="\n".join(f"  - {_scalar(label)}" for label in these))
    sample_fraction, sampling = _sampling(labelled.examples.height if labelled else 0)
    return {
        CONFIG: _primary(name),
        "conf/data/own_files.yaml": _DATA.format(
            text_column=_scalar(columns.text),
            context="" if columns.context is None else f"context_column: {_scalar(columns.context)}\n",
            label_columns=of_labels,
            task=task,
            labels=labels,
        ),
        "conf/experiment/first.yaml": _EXPERIMENT.format(
            sampling=sampling, sample_fraction=sample_fraction, name=_scalar(name)
        ),
    }


def answer_conf_files(name: str, columns: AnswerColumns, answered: LabelledFile | None) -> dict[str, str]:
    """The project's `conf/` where answers are learned, by path.

    Args:
        name: As for `conf_files`.
        columns: The task, and where prompts and answers stand.
        answered: The prompts with answers that it begins with, if there are any.
    """
    is_structured = "messages_column" in columns.names
    sample_fraction, sampling = _sampling(answered.examples.height if answered else 0)
    return {
        CONFIG: _primary(name),
        "conf/data/own_files.yaml": _ANSWER_DATA.format(
            kinds="JSONL or Parquet" if is_structured else "CSV, TSV, JSONL or Parquet",
            these="this column" if len(columns.names) == 1 else "these columns",
            task=columns.task,
            columns="\n".join(f"{key}: {_scalar(column)}" for key, column in columns.names.items()),
            steps=", ".join(ANSWER_STEPS),
        ),
        "conf/experiment/first.yaml": _ANSWER_EXPERIMENT.format(
            sampling=sampling,
            sample_fraction=sample_fraction,
            learning_rate=_LEARNING_RATES[columns.task],
            name=_scalar(name),
        ),
    }


def _primary(name: str) -> str:
    """What is chosen, and a champion of its own, also where a tracking server is shared with other projects."""
    model = _NOT_IN_MODEL_NAMES.sub("-", name).strip("-.") or TrackingConfig.registered_model
    return primary_config({"data": "own_files", "experiment": "first"}) + _TRACKING.format(model=_scalar(model))


def configured_labels(labelled: LabelledFile | None) -> tuple[str, ...]:
    """The labels that the configuration lists; none where any is taken, because one of them cannot be written there."""
    labels = labelled.labels if labelled else ()
    return () if _MISSING in labels else labels


def readme(name: str, *, has_data: bool, has_labels: bool = True) -> str:
    """The project's README: the next steps, and what is where."""
    what = "labelled texts" if has_labels else "prompts with answers"
    return _README.format(
        name=name,
        what=what,
        first=(_HAS_DATA if has_data else _LACKS_DATA).format(what=what),
        then=_LABELS_COME_BACK if has_labels else _ANSWERS_COME,
        queue=_QUEUE if has_labels else "",
    )


def _sampling(num_examples: int) -> tuple[float, str]:
    """The share of the examples that is enough for a first look, and what to say of it."""
    if num_examples <= _NUM_FIRST_EXAMPLES:
        return 1.0, "The share of the examples that is used at all."
    fraction = math.ceil(_NUM_FIRST_EXAMPLES / num_examples * 1e4) / 1e4
    return fraction, f"About {_NUM_FIRST_EXAMPLES:,} of the {num_examples:,} examples, also of new ones; 1.0 takes all."


def _scalar(text: str) -> str:
    """A text in YAML, quoted, so that neither YAML nor OmegaConf reads a number or an interpolation in it."""
    escaped = _INTERPOLATION.sub(lambda found: rf"{found[1] * 2}\${{", text)
    written: str = yaml.safe_dump(escaped, default_style='"', allow_unicode=True, width=math.inf)
    return written.strip()
