"""A million and more tweets from the raw file to Parquet, beside the pandas code of the notebooks that FTzard replaces.

The file is that of Sentiment140 in form (latin-1, no header, six quoted columns, 1.6 million rows). Real tweets are
repeated; a repetition has half of its words exchanged for words of other tweets and a suffix of its own, because copies
that differ by a suffix alone are all near each other, and then there is no test split to be made.

The notebooks read it with `read_csv`, mapped the labels, cleaned text by text with two regular expressions and wrote a
CSV of text and label. FTzard reads it with line numbers and checksum, cleans it by the same two steps until nothing
changes, takes out exact duplicates and writes Parquet; and, as a second way, makes the splits that no near duplicate
crosses, too. A third way is what a person runs, `ftzard materialize --until splits`: the same as assets, with their
checks, pictures, content versions, data commits and MLflow runs. A fourth is a script of polars that reads, cleans and
writes likewise, and looks at nothing: it shows what that takes at least.

Each is a process of its own, whose peak memory is the kernel's word; what Python needs to start and import is not
counted as time, but for the assets, which import on their way. The ways take turns within one run, and the ratios are
of medians. The assets, which write most, come once after all others. In the end a file with 1 % more rows is put
beside, and the splits are made again, with the test split that is frozen by then.

The figures in seconds are what the clock says, and only as good as the machine is quiet; `*_cpu_s` is what the process
worked, which others disturb less and more processors do not shorten.

`python -m benchmarks.data_size --rows 100000` measures other numbers of rows and writes no result; more than 1.6
million come in several files, as in `--rows 16000000`.
"""

import argparse
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import polars as pl

from benchmarks.report import Result, at_least, at_most, lines
from benchmarks.tweet_task import quiet_transformers
from ftzard.composition import compose
from ftzard.core.base_description import read_tokenizer
from ftzard.core.base_source import find_base_model
from ftzard.core.cleaning import clean
from ftzard.core.prompts import PromptTemplate, encode_prompts
from ftzard.core.reading import read_batches
from ftzard.core.records import Cleaned, Splits
from ftzard.core.splitting import split
from ftzard.core.tweets import sample_tweets
from ftzard.io_managers.parquet import write_frame
from ftzard.materialization import materialize
from ftzard.resources.project_repository import init_project_repository

_NUM_ROWS, _NUM_ROUNDS = 1_600_000, 5
_NUM_TWEETS, _NUM_TOKENISED, _NUM_TOKENISING_ROUNDS = 18_000, 20_000, 3
_SEED = 0
_LABELS = {"negative": "0", "positive": "4"}
_COLUMNS = ("target", "ids", "date", "flag", "user", "text")
_FIRST_ID = 1_467_810_369
_RAW, _NUM_ROWS_PER_FILE = "data/raw", 1_600_000
_MIN_RATIO, _MIN_SPLIT_RATIO, _MIN_SPLIT_ROWS_PER_S = 6.0, 1.0, 30_000
_MIN_TOKENISING_RATIO, _MIN_SHARE_ALIKE = 3.0, 0.999
_MAX_GIB, _MAX_GIB_OF_MORE = 1.5, 2.0
_APPENDED, _MAX_APPENDING = 0.01, 0.05


def run(num_rows: int = _NUM_ROWS, num_rounds: int = _NUM_ROUNDS, num_tokenised: int = _NUM_TOKENISED) -> Result:
    """Make `num_rows` rows and take them each way `num_rounds` times.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    # Before there is anything for the system to write to the disk, which takes a processor.
    tokenising = _tokenising(num_tokenised)
    # On the disk of the project: the system's temporary folder may be memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        num_bytes = write_tweets(folder / _RAW, range(num_rows))
        rounds = [{way: _in_process(way, folder) for way in _TIMED} for _ in range(num_rounds)]
        share_alike = _share_alike(folder)
        once = {"assets": _in_process("assets", folder)}
        write_tweets(folder / _RAW, range(num_rows, num_rows + math.ceil(_APPENDED * num_rows)))
        once["appended"] = _in_process("appended", folder)
    medians = {
        way: {name: statistics.median(measured[way][name] for measured in rounds) for name in ("s", "cpu_s")}
        | {"gib": max(measured[way]["gib"] for measured in rounds)}
        for way in _TIMED
    } | once
    seconds = {way: measured["s"] for way, measured in medians.items()}
    figures = {
        "num_rows": num_rows,
        "file_mb": num_bytes / 1e6,
        **{f"{way}_s": seconds[way] for way in _SHOWN},
        **{f"{way}_cpu_s": medians[way]["cpu_s"] for way in _SHOWN},
        **{f"{way}_peak_gib": medians[way]["gib"] for way in _SHOWN},
        "texts_as_the_notebooks": share_alike,
        "appending_1_percent_s": seconds["appended"],
        "appending_over_splits": seconds["appended"] / seconds["splits"],
        "notebooks_over_cleaned": seconds["notebooks"] / seconds["cleaned"],
        "notebooks_over_script": seconds["notebooks"] / seconds["script"],
        "assets_over_splits": seconds["assets"] / seconds["splits"],
        "notebooks_over_splits": seconds["notebooks"] / seconds["splits"],
        "splits_rows_per_s": num_rows / seconds["splits"],
        **tokenising,
    }
    max_gib = _MAX_GIB if num_rows <= _NUM_ROWS else _MAX_GIB_OF_MORE
    bars = {
        "texts_as_the_notebooks": at_least(_MIN_SHARE_ALIKE),
        "notebooks_over_cleaned": at_least(_MIN_RATIO),
        "notebooks_over_splits": at_least(_MIN_SPLIT_RATIO),
        "splits_rows_per_s": at_least(_MIN_SPLIT_ROWS_PER_S),
        "map_over_ftzard": at_least(_MIN_TOKENISING_RATIO),
        "cleaned_peak_gib": at_most(max_gib),
        "splits_peak_gib": at_most(max_gib),
        "assets_peak_gib": at_most(max_gib),
        "appending_over_splits": at_most(_MAX_APPENDING),
    }
    return Result(figures, bars)


def write_tweets(folder: Path, numbers: range) -> int:
    """Write the tweets of some numbers, in as many files as it takes; their size in bytes."""
    draw = random.Random(numbers.start or _SEED)  # noqa: S311 - no secret
    tweets = list(sample_tweets(_NUM_TWEETS, seed=_SEED).iter_rows())
    words = [word for text, _ in tweets for word in text.split() if word.isalpha()]
    folder.mkdir(parents=True, exist_ok=True)
    num_bytes = 0
    for start in range(numbers.start, numbers.stop, _NUM_ROWS_PER_FILE):
        path = folder / f"tweets-{start:09d}.csv"
        with path.open("w", encoding="latin-1", errors="replace", newline="") as file:
            for number in range(start, min(numbers.stop, start + _NUM_ROWS_PER_FILE)):
                file.write(_line(number, tweets, words, draw))
        num_bytes += path.stat().st_size
    return num_bytes


def _line(number: int, tweets: list[tuple[str, str]], words: list[str], draw: random.Random) -> str:
    text, label = tweets[number % len(tweets)]
    if number >= len(tweets):
        kept = [word if draw.random() < 0.5 else draw.choice(words) for word in text.split()]  # noqa: PLR2004
        text = f"{' '.join(kept)} {number:x}"
    text = " ".join(text.split()).replace('"', '""')
    row = (_LABELS[label], _FIRST_ID + number, "Mon Apr 06 22:19:45 PDT 2009", "NO_QUERY", f"u{number % 9999}")
    return ",".join(f'"{value}"' for value in (*row, text)) + "\n"


def as_the_notebooks(folder: Path) -> None:
    """With pandas, row by row."""
    import re

    import pandas as pd

    def cleaned(text: str) -> str:
        for name in re.findall(r"@(\w+)", text):
            text = text.replace(f"@{name}", f"user {name}")
        return re.sub(r"[^a-zA-Z0-9. ]", "", text)

    files = sorted((folder / _RAW).glob("*.csv"))
    read = [pd.read_csv(file, encoding="latin-1", header=None, names=list(_COLUMNS)) for file in files]
    tweets = (read[0] if len(read) == 1 else pd.concat(read))[["target", "text"]]
    tweets["target"] = tweets["target"].map({int(value): label for label, value in _LABELS.items()})
    tweets["text"] = tweets["text"].apply(cleaned)
    tweets.to_csv(folder / "notebooks.csv", index=False)


def to_cleaned(folder: Path) -> Cleaned:
    """Through `raw_data` and `cleaned`."""
    found = clean(read_batches(folder, _CONFIG).examples, _CONFIG)
    _write(found, folder / "cleaned")
    return found


def to_splits(folder: Path) -> None:
    """Through `raw_data`, `cleaned` and `splits`."""
    _write(split(to_cleaned(folder).examples, _CONFIG), folder / "splits")


def as_assets(folder: Path) -> None:
    """As a person runs it, in a project of its own around the same files."""
    project = Path(tempfile.mkdtemp(prefix="project-", dir=folder))
    # Its own: the folder may lie in somebody's repository, which is to get no commits.
    subprocess.run(["git", "init", "--quiet", project], check=True)
    init_project_repository(project, remote=None)
    (project / _RAW).mkdir(parents=True)
    for file in sorted((folder / _RAW).glob("*.csv")):
        os.link(file, project / _RAW / file.name)
    materialize(project, _OVERRIDES, until="splits")
    shutil.rmtree(project)


def as_a_script(folder: Path) -> None:
    """With polars alone: no row is looked at that is not as expected, and nothing says where a row is from."""
    patterns = ((r"@+([\p{L}\p{N}_])", "user ${1}"), (r"[^a-zA-Z0-9. ]+", ""))
    text = pl.col("text")
    for pattern, value in patterns:
        text = text.str.replace_all(pattern, value)
    read = [
        pl.read_csv(
            file.read_bytes().decode("latin-1").encode(),
            has_header=False,
            new_columns=list(_COLUMNS),
            columns=[_COLUMNS.index("target"), _COLUMNS.index("text")],
            infer_schema=False,
        )
        for file in sorted((folder / _RAW).glob("*.csv"))
    ]
    label = pl.col("target").replace({value: label for label, value in _LABELS.items()})
    tweets = pl.concat(read).lazy().select(text=text, label=label).unique("text", keep="first", maintain_order=True)
    write_frame(tweets.collect(engine="streaming"), folder / "script.parquet")


def to_splits_again(folder: Path) -> None:
    """The same with the test split that the first time made."""
    frozen = pl.read_parquet(folder / "splits" / "test.parquet", columns=["text_hash", "text"])
    _write(split(to_cleaned(folder).examples, _CONFIG, frozen), folder / "splits")


WAYS: Mapping[str, Callable[[Path], object]] = {
    "notebooks": as_the_notebooks,
    "cleaned": to_cleaned,
    "splits": to_splits,
    "assets": as_assets,
    "script": as_a_script,
    "appended": to_splits_again,
}
_TIMED = ("notebooks", "cleaned", "splits", "script")
_SHOWN = (*_TIMED, "assets")
_OVERRIDES = (
    "data.encoding=latin-1",
    "data.delimiter=','",
    f"data.column_names=[{','.join(_COLUMNS)}]",
    "data.label_column=target",
    f"data.label_mapping={{{','.join(f'{value}:{label}' for label, value in _LABELS.items())}}}",
    f"data.labels=[{','.join(_LABELS)}]",
    "data.cleaning_steps=[user_names,basic_characters]",
)
_CONFIG = compose(_OVERRIDES).data


def _write(record: Cleaned | Splits, folder: Path) -> None:
    """As the IO manager does."""
    folder.mkdir(exist_ok=True)
    for item in fields(record):
        write_frame(getattr(record, item.name), folder / f"{item.name}.parquet")


def _in_process(way: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data_size", "--way", way, "--folder", str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    measured: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return measured


def _measure_here(way: str, folder: Path) -> None:
    """Where a new process ends up; imports are made first."""
    import pandas as pd  # noqa: F401
    import polars_hash  # noqa: F401
    from rapidfuzz.process import cpdist  # noqa: F401

    started, cpu_started = time.perf_counter(), time.process_time()
    WAYS[way](folder)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"s": seconds, "cpu_s": cpu_seconds, "gib": gib}))


def _share_alike(folder: Path) -> float:
    """The share of our texts that the notebooks' output has, character for character."""
    ours = pl.read_parquet(folder / "cleaned" / "examples.parquet", columns=["text"])
    theirs = pl.read_csv(folder / "notebooks.csv", columns=["text"], infer_schema=False)
    return ours.join(theirs, on="text", how="semi").height / ours.height


def _tokenising(num_texts: int) -> dict[str, float]:
    """Texts in the demo's prompt, by our function and by `datasets.map` row by row, which is its default."""
    from datasets import Dataset

    config = compose(("experiment=demo",)).model
    with quiet_transformers():
        tokenizer = read_tokenizer(find_base_model(config))
        template = PromptTemplate.from_parts(config.prompt_template, tuple(_LABELS), config.max_length)
        tweets = sample_tweets(min(num_texts, _NUM_TWEETS), seed=_SEED)["text"].to_list()
        dataset = Dataset.from_dict({"text": tweets})

        def prompt(row: dict[str, str]) -> dict[str, list[int]]:
            filled = f"{template.prefix}{row['text']}{template.suffix}"
            ids: list[int] = tokenizer(filled, truncation=True, max_length=config.max_length).input_ids
            return {"input_ids": ids}

        encode_prompts(tweets[:100], template, tokenizer)
        ways = (
            lambda: encode_prompts(tweets, template, tokenizer),
            lambda: dataset.map(prompt, load_from_cache_file=False),
        )
        rounds = [[_seconds(way) for way in ways] for _ in range(_NUM_TOKENISING_ROUNDS)]
    return {
        "ftzard_tokenised_per_s": len(tweets) / statistics.median(ours for ours, _ in rounds),
        "map_tokenised_per_s": len(tweets) / statistics.median(theirs for _, theirs in rounds),
        "map_over_ftzard": statistics.median(theirs / ours for ours, theirs in rounds),
    }


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=_NUM_ROWS)
    parser.add_argument("--way", choices=list(WAYS))
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.way:
        _measure_here(asked.way, asked.folder)
    else:
        print(*lines("data_size", run(asked.rows)), sep="\n")
