"""`ftzard init` for projects that learn to write answers, or which of two is liked."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.assets.tuning import tuned_hyperparameters
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.answer_format import read_answer_format
from ftzard.core.reading import read_batches

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")
_PAIRS = [
    {"q": f"Where is the {one}\nof the {other} now?", "a": f"By the {other}", "b": "No idea"}
    for one in _WORDS
    for other in _WORDS
]
_CHATS = [
    {"talk": [{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row["a"]}]} for row in _PAIRS
]
_PAIRS_OF_CHATS = [
    {
        answer: [{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row[answer]}]
        for answer in ("a", "b")
    }
    for row in _PAIRS
]


def _init(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (_PAIRS, ["--prompt", "q", "--completion", "a"],
         {"task": "generation", "prompt_column": "q", "completion_column": "a", "messages_column": None}),
        (_PAIRS, ["--prompt", "q", "--context", "b", "--completion", "a"],
         {"task": "generation", "prompt_column": "q", "context_column": "b", "completion_column": "a"}),
        (_CHATS, ["--messages", "talk"], {"task": "generation", "messages_column": "talk"}),
        (_PAIRS_OF_CHATS, ["--messages", "before", "--chosen", "a", "--rejected", "b"],
         {"task": "preference", "messages_column": "before", "chosen_column": "a", "rejected_column": "b"}),
        (_PAIRS, ["--prompt", "q", "--chosen", "a", "--rejected", "b"],
         {"task": "preference", "prompt_column": "q", "chosen_column": "a", "rejected_column": "b"}),
    ],
)  # fmt: skip
def test_a_project_can_be_made_to_learn_answers(
    rows: list[dict[str, object]], options: list[str], expected: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    result = _init(tmp_path / "new", "--data", tmp_path / "rows.jsonl", *options)
    assert result.exit_code == 0, result.output
    assert "these are 100 examples." in result.output
    config = compose(project_dir=tmp_path / "new")
    assert {key: getattr(config.data, key) for key in expected} == expected
    # Or the line breaks of prompts would be spaces.
    assert config.data.cleaning_steps == ("unicode_nfc",)
    assert config.model.generation.prompt_format == "chat"
    assert read_batches(tmp_path / "new", config.data).examples.height == 100
    told = (tmp_path / "new" / "README.md").read_text()
    assert "prompts with answers" in told
    assert "ftzard labels export" not in told


def test_what_init_writes_for_answers_can_be_trained_with(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in _PAIRS))
    _init(tmp_path / "new", "--data", tmp_path / "rows.jsonl", "--prompt", "q", "--completion", "a")
    overrides = ["data.near_duplicate_edits=0", "model.base_model=random:tiny-llama"]
    config = compose([*overrides, "model.generation.prompt_format=plain"], project_dir=tmp_path / "new")
    step = Step(config, tmp_path / "new")
    parts = splits(cleaned(raw_data(step=step).value, step).value, step).value
    # Line breaks stay.
    assert all("\n" in text for text in parts.train["text"])
    trained = lora_adapter(parts, tuned_hyperparameters(parts, step).value, step)
    assert trained.metrics["num_train_examples"] == parts.train.height
    assert read_answer_format(trained.value.path).max_length == 256


def test_answers_that_were_taken_for_labels_are_pointed_out(tmp_path: Path) -> None:
    rows = [{"q": f"Where is thing number {number * number}?", "a": f"At {number}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    result = _init(tmp_path / "new", "--data", tmp_path / "rows.jsonl", "--text", "q", "--label", "a")
    assert "40 examples have 40 different labels. If these are answers" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "preference", "--completion", "a"], "--completion has no place beside --prompt"),
        (["--messages", "m", "--prompt", "q"], "--prompt has no place beside --messages"),
        (["--task", "generation", "--label", "a"], "are for labels"),
        (["--prompt", "q", "--multi-label"], "are for labels"),
    ],
)
def test_columns_of_two_tasks_are_refused(options: list[str], said: str, tmp_path: Path) -> None:
    result = _init(tmp_path / "new", *options)
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "new").exists()


def test_pairs_that_hold_their_prompts_are_told_how_these_are_read(tmp_path: Path) -> None:
    asked = "\n\nHuman: Who is Ada?\n\nAssistant:"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"chosen": f"{asked} Her.", "rejected": f"{asked} Him."}) + "\n")
    pairs = ["--data", tmp_path / "rows.jsonl", "--chosen", "chosen", "--rejected", "rejected"]
    refused = _init(tmp_path / "new", *pairs)
    assert refused.exit_code == 1
    assert "`--messages prompt`" in refused.stderr
    assert _init(tmp_path / "new", *pairs, "--messages", "prompt").exit_code == 0


@pytest.mark.parametrize("row", [{"q": "Who?", "a": " "}, {"q": "Who?", "answer": "Me"}])
def test_answers_that_are_not_there_are_told_with_the_option_that_names_them(
    row: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    result = _init(tmp_path / "new", "--data", tmp_path / "rows.jsonl", "--prompt", "q", "--completion", "a")
    assert result.exit_code == 1
    assert "--completion" in result.output
    assert not (tmp_path / "new").exists()
