"""A short version of `make faults`: whatever happens to a process, nothing is lost and one more run puts it right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def _faults(*arguments: str) -> tuple[int, str]:
    # In a process of its own, which has no threads: victims are forked from it.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults", "--short", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_no_invariant_is_violated_and_one_more_run_converges(tmp_path: Path) -> None:
    # All in one process, because what each needs first, imports and a materialized project, is most of the time.
    code, said = _faults("--jobs", "2", "--json", str(tmp_path / "faults.json"))
    assert code == 0, said
    assert "No invariant was violated." in said
    told = json.loads((tmp_path / "faults.json").read_text(encoding="utf-8"))
    assert (told["num_violations"], told["num_unexplained"]) == (0, 0)
    assert all(scenario["num_faults"] > 0 for scenario in told["scenarios"])


def test_a_violation_is_found_and_told() -> None:
    """The check itself: an operation that destroys a person's file must not pass."""
    script = (
        "from pathlib import Path; from tests.faults import __main__ as faults, operations\n"
        "faults._KINDS = ('kill',)\n"
        "honest = operations.commit\n"
        "def careless(project):\n"
        "    with (project / 'untracked.md').open('a') as file: file.write('more')\n"
        "    return honest(project)\n"
        "operations.commit = careless\n"
        "import sys; sys.argv = ['faults', '--short', 'commit']; sys.exit(faults.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the person's file untracked.md changed" in done.stdout
