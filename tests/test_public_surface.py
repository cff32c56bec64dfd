"""The public surface: these names, each where it says it is, and nothing else by accident."""

import importlib
import inspect

import pytest

import ftzard
from ftzard import errors

_NAMES = {
    "AdapterDirectory",
    "Cleaned",
    "EvaluationReport",
    "FtzardConfig",
    "FtzardError",
    "Raw",
    "Splits",
    "Step",
    "StepResult",
    "build_definitions",
    "cleaning_step",
    "compose",
    "materialize",
    "write_batch",
}


def test_the_package_exports_exactly_these_names() -> None:
    assert set(ftzard.__all__) == _NAMES
    assert list(ftzard.__all__) == sorted(ftzard.__all__)
    assert dir(ftzard) == sorted(_NAMES)


@pytest.mark.parametrize("name", sorted(_NAMES))
def test_a_public_name_resolves_to_a_documented_object_of_the_package(name: str) -> None:
    exported = getattr(ftzard, name)
    assert exported.__name__ == name
    assert exported.__module__.startswith("ftzard.")
    assert getattr(importlib.import_module(exported.__module__), name) is exported
    assert inspect.getdoc(exported)


def test_a_star_import_brings_exactly_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from ftzard import *", namespace)  # noqa: S102  # a star import is only allowed at module level
    assert set(namespace) - {"__builtins__"} == _NAMES


def test_a_name_that_does_not_exist_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'ftzard' has no attribute 'trian'"):
        getattr(ftzard, "trian")  # noqa: B009  # a type checker knows that it is not there


def test_every_error_is_an_ftzard_error_with_a_remedy() -> None:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]
    assert len(classes) > 10
    for cls in classes:
        assert issubclass(cls, errors.FtzardError)
        assert cls.__name__.endswith("Error")
        error = cls("it broke", fix="mend it")
        assert (error.what, error.fix) == ("it broke", "mend it")
        assert str(error) == "it broke\n  To fix it: mend it"
