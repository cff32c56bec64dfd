"""Cleaning steps that other code registers: by one function, found by name, told apart by version."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ftzard import cleaning_step
from ftzard.assets.data import cleaned
from ftzard.assets.serving import incoming
from ftzard.assets.step import Step
from ftzard.composition import compose
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core import step_registry
from ftzard.core.cleaning import clean
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.step_registry import find_step, registered_version, steps_version
from ftzard.core.text_normalisation import normalise_text, step_changes
from ftzard.errors import ConfigError

_ENTRY_POINT = "[ftzard.cleaning_steps]\nshouting = shouting\n"
_MODULE = '''
import polars as pl
import ftzard

@ftzard.cleaning_step("shout")
def shout(text: pl.Expr) -> pl.Expr:
    """Make all letters upper case."""
    return text.str.to_uppercase()
'''


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step_registry, "_registered", {})
    yield
    step_registry._load_entry_points.cache_clear()


def shout(text: pl.Expr) -> pl.Expr:
    """Make all letters
    upper case.

    Even these.
    """
    return text.str.to_uppercase()


def _normalised(text: str | None, *steps: str) -> str | None:
    return normalise_text(pl.Series([text, None], dtype=pl.String), steps).to_list()[0]  # type: ignore[no-any-return]


def test_a_registered_function_is_a_step_among_the_others() -> None:
    assert cleaning_step("shout")(shout) is shout
    assert find_step("shout").description == "Make all letters upper case."
    assert _normalised(" so  good", "collapse_whitespace", "shout") == "SO GOOD"
    assert compose(["data.cleaning_steps=[shout]"]).data.cleaning_steps == ("shout",)
    rows = pl.DataFrame([("a", "x", "a.csv", 1), ("b", "y", "a.csv", 2)], schema=RAW_SCHEMA, orient="row")
    assert clean(rows, DataConfig(cleaning_steps=("shout",))).examples["text"].to_list() == ["A", "B"]


def test_a_name_that_nobody_registered_is_refused_with_the_configuration_and_where_it_was_given() -> None:
    with pytest.raises(ConfigError, match=r"(?s)override 'data.cleaning_steps=\[shout\]'.*'shout'.*import the module"):
        compose(["data.cleaning_steps=[shout]"])
    cleaning_step("shout")(shout)
    compose(["data.cleaning_steps=[shout]"])


@pytest.mark.parametrize("name", ["lowercase", "shout"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    cleaning_step("shout")(shout)

    def other(text: pl.Expr) -> pl.Expr:
        """Do nothing."""
        return text

    with pytest.raises(ConfigError, match=rf"other cannot be registered as the cleaning step {name}: that name"):
        cleaning_step(name)(other)
    assert _normalised("aB", "lowercase", "shout") == "AB" if name == "shout" else _normalised("aB", name) == "ab"


def test_a_module_that_is_imported_again_registers_its_function_again() -> None:
    cleaning_step("shout", version="1")(shout)
    cleaning_step("shout", version="2")(shout)
    assert find_step("shout").version == "2"


@pytest.mark.parametrize("name", ["", "Shout", "so loud", "9th", "a/b"])
def test_a_name_that_cannot_be_part_of_a_metric_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be named"):
        cleaning_step(name)(shout)


def test_a_function_without_a_docstring_or_without_source_and_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="no docstring"):
        cleaning_step("silent")(lambda text: text)
    namespace: dict[str, object] = {}
    exec("def typed_in(text):\n    'Do nothing.'\n    return text", namespace)  # noqa: S102  # as in an interpreter
    function = namespace["typed_in"]
    assert callable(function)
    with pytest.raises(ConfigError, match="source code of the cleaning step typed_in"):
        cleaning_step("typed_in")(function)
    cleaning_step("typed_in", version="1")(function)


def test_a_changed_function_makes_what_is_cleaned_stale_and_another_function_does_not(tmp_path: Path) -> None:
    def state(*steps: str) -> tuple[str, ...]:
        step = Step(FtzardConfig(data=DataConfig(cleaning_steps=steps)), tmp_path)
        return cleaned.fingerprint(step, {}), incoming.fingerprint(step, {})

    before, code_before = state("lowercase"), cleaned.full_code_version
    cleaning_step("shout")(shout)
    first, code_first = state("lowercase", "shout"), cleaned.full_code_version
    assert state("lowercase") == before
    cleaning_step("shout", version="changed")(shout)
    second, code_second = state("lowercase", "shout"), cleaned.full_code_version
    assert state("lowercase") == before
    assert all(one != other for one, other in zip(first, second, strict=True))
    # Without a step of somebody else it is the number of our own code.
    assert code_before.isdigit()
    assert len({code_before, code_first, code_second}) == 3


def test_a_version_is_that_of_the_source_code_unless_one_is_given() -> None:
    cleaning_step("shout")(shout)
    version = find_step("shout").version
    assert len(version) == 16

    def shout_again(text: pl.Expr) -> pl.Expr:
        """Make all letters upper case."""
        return text.str.to_uppercase()

    cleaning_step("shout_again")(shout_again)
    assert find_step("shout_again").version != version
    cleaning_step("shout_a_third_time", version="7")(shout)
    assert steps_version(["lowercase", "shout_a_third_time"]) == "shout_a_third_time=7"
    assert registered_version().count("=") == 3


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda text: text.str.len_chars(), "value\\(s\\) of type UInt32"),
        (lambda text: text.drop_nulls(), "makes 1 value\\(s\\)"),
        (lambda text: text.fill_null("nothing"), "0 of them null, of 2 text"),
        (lambda text: text.replace("a", None), "2 of them null, of 2 text"),
        (lambda _: pl.col("no such column"), "fails: ColumnNotFoundError"),
        (lambda _: 1 / 0, "fails: ZeroDivisionError"),
        (lambda _: None, "returns a NoneType"),
        (lambda text: text + "!", "after [0-9]+ passes, such as 'a!!!"),
        (lambda text: text + text, "still change 1 text"),
        (lambda text: text.replace({"a": "b", "b": "a"}), "after 1000 passes"),
    ],
)
def test_a_step_that_does_what_no_step_may_is_an_error_that_names_it(function: object, complaint: str) -> None:
    assert callable(function)
    function.__doc__ = "Do harm."
    cleaning_step("harmful", version="1")(function)
    with pytest.raises(ConfigError, match=complaint) as caught:
        _normalised("a", "lowercase", "harmful")
    assert "harmful" in caught.value.what


def test_a_step_that_never_ends_is_an_error_where_its_changes_are_counted_too() -> None:
    def grow(text: pl.Expr) -> pl.Expr:
        """Write each text twice."""
        return text + text

    cleaning_step("grow", version="1")(grow)
    with pytest.raises(ConfigError, match="grow"):
        step_changes(pl.Series(["a", None]), ["grow"])


def test_the_command_line_finds_the_steps_of_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(_MODULE)
    info = tmp_path / "shouting-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINT)
    program = f"import sys; sys.path.append({str(tmp_path)!r}); from ftzard.cli import main; main()"
    command = [sys.executable, "-c", program, "config", "data.cleaning_steps=[shout]"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "- shout" in done.stdout


def test_a_package_whose_steps_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "shouting-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINT.replace("= shouting", "= no_such_module_of_steps"))
    monkeypatch.syspath_prepend(str(tmp_path))
    step_registry._load_entry_points.cache_clear()
    with pytest.raises(ConfigError, match="no_such_module_of_steps, which registers"):
        find_step("shout")


def test_the_example_of_the_documentation_works_and_its_table_is_what_the_steps_say(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cleaning.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "my_steps.py"
    path.write_text(code, encoding="utf-8")
    exec(compile(code, str(path), "exec"), {"__name__": "my_steps"})  # noqa: S102  # it is our own page
    assert _normalised("buy $AAPL", "tickers") == "buy stock"
    assert all(f"| `{step.name}` | {step.description} |" in page for step in CLEANING_STEPS.values())
