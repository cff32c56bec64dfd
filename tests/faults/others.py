"""Others who work in a project at the same time: a person with git, and a second process of FTzard's."""

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import operations
from tests.faults.injection import Fault, Outcome, Victim, run_with
from tests.faults.project import Before, git, violations, violations_after_recovery
from tests.faults.templates import Templates, add_batch, copy_project
from tests.faults.trials import Finding, Tally, Trial, run_trials

from ftzard.config import VersioningConfig
from ftzard.resources.versioning import DvcRepository

_WAITING = "waiting for the process that commits data"
# A person's git that finds the index or a branch locked is told so by git, and tries again.
_PERSONS_ATTEMPTS = 50


def person_scenario(templates: Templates, scratch: Path, num_runs: int, seed: int, jobs: int) -> Tally:
    """The whole spine, while a person edits, stages, commits, tags and makes branches."""
    trials = [
        Trial(f"person {seed}-{number}", _person_trial(templates.second_batch, f"{seed} {number}"))
        for number in range(num_runs)
    ]
    return run_trials("a person meanwhile", trials, scratch, jobs)


def pairs_scenario(templates: Templates, scratch: Path, num_commits: int, num_runs: int, seed: int, jobs: int) -> Tally:
    """Two processes in one project, begun at random distances: data commits of different files, and whole runs."""
    draw = random.Random(f"{seed} pairs")  # noqa: S311 - not for secrets
    trials = [
        Trial(f"commits {offset_s:.2f} s apart", _pair_of_commits(templates.fresh, offset_s))
        for offset_s in (draw.uniform(0, 0.5) for _ in range(num_commits))
    ]
    trials += [
        Trial(f"runs {offset_s:.2f} s apart", _pair_of_runs(templates.materialized, offset_s))
        for offset_s in (draw.uniform(0, 3.0) for _ in range(num_runs))
    ]
    return run_trials("pairs of processes", trials, scratch, jobs)


def _person_trial(template: Path, seed: str) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        project = copy_project(template, folder)
        before = git(project, "rev-parse", "HEAD")
        worker = Victim.start(Fault(), lambda: operations.materialize(project))
        person = _Person(project, random.Random(seed))  # noqa: S311 - not for secrets
        while not worker.is_over:
            person.act()
        outcome = worker.outcome()
        finding = Finding(hit=person.num_actions > 0)
        finding.notes += [f"{'failed' if outcome.exit_code else 'went on'} while the person worked"]
        if outcome.exit_code != 0:
            (finding.violations if outcome.is_explained else finding.unexplained).append(outcome.error)
        finding.violations += person.losses(before)
        again = run_with(Fault(), lambda: operations.materialize(project))
        if again.exit_code != 0:
            finding.violations.append(f"one more run failed: {again.error}")
        finding.violations += [f"recovered: {what}" for what in violations_after_recovery(project)]
        finding.violations += [f"recovered: {what}" for what in person.losses(before)]
        return finding

    return run


class _Person:
    """Works with plain git, as long as somebody lets it."""

    def __init__(self, project: Path, draw: random.Random) -> None:
        self.num_actions = 0
        self._project = project
        self._draw = draw
        self._commits: list[str] = []
        self._files: dict[str, str] = {}
        self._staged: dict[str, str] = {}
        # What was begun before is the first thing that is finished.
        self._git("commit", "--quiet", "-m", "Ada's work so far")

    def act(self) -> None:
        """One thing, after a while."""
        time.sleep(self._draw.uniform(0, 0.3))
        self.num_actions += 1
        self._draw.choice([self._edit, self._stage, self._commit, self._tag, self._branch])()

    def losses(self, before: str) -> list[str]:
        """What of the person's work is not as they left it."""
        wrong = []
        ancestors = git(self._project, "rev-list", "HEAD").splitlines()
        wrong += [f"the person's commit {one} is not in the history" for one in self._commits if one not in ancestors]
        if before not in ancestors:
            wrong.append("the commit before is not in the history")
        if git(self._project, "rev-list", "--merges", "HEAD"):
            wrong.append("the history is not linear")
        for name, text in self._files.items():
            if (self._project / name).read_text(encoding="utf-8") != text:
                wrong.append(f"the person's {name} changed")
        for name, text in self._staged.items():
            if git(self._project, "show", f":{name}") != text:
                wrong.append(f"what the person staged of {name} changed")
        for commit in self._commits:
            names = git(self._project, "show", "--name-only", "--format=", commit).splitlines()
            wrong += [
                f"the person's commit {commit} holds {name}" for name in names if name in {"data.dvc", ".gitignore"}
            ]
        ours = git(self._project, "status", "--porcelain", "--", "data.dvc", ".gitignore")
        return wrong + ([f"git status shows FTzard's own files: {ours!r}"] if ours else [])

    def _edit(self) -> None:
        name, text = f"note-{self._draw.randrange(5)}.md", f"line {self._draw.random()}"
        (self._project / name).write_text(text, encoding="utf-8")
        self._files[name] = text

    def _stage(self) -> None:
        if self._files:
            name = self._draw.choice(sorted(self._files))
            self._git("add", name)
            self._staged[name] = self._files[name]

    def _commit(self) -> None:
        if git(self._project, "diff", "--cached", "--name-only", "--", *[*self._files, "paper.md"]):
            self._git("commit", "--quiet", "-m", f"Ada {self.num_actions}")
            # Found by its subject: FTzard may have committed after it already.
            self._commits.append(git(self._project, "log", "-1", "--format=%H", f"--grep=^Ada {self.num_actions}$"))

    def _tag(self) -> None:
        self._git("tag", f"tag-{self.num_actions}")

    def _branch(self) -> None:
        # FTzard goes on with what is checked out; a branch from here has all that was before.
        self._git(*self._draw.choice([("branch",), ("checkout", "--quiet", "-b")]), f"branch-{self.num_actions}")

    def _git(self, *arguments: str) -> None:
        import subprocess

        for attempt in range(_PERSONS_ATTEMPTS):
            try:
                git(self._project, "-c", "user.name=Ada", "-c", "user.email=ada@localhost", *arguments)
            except subprocess.CalledProcessError as error:
                if not any(word in error.stderr for word in ("lock", "expected")) or attempt == _PERSONS_ATTEMPTS - 1:
                    raise RuntimeError(f"git {arguments}: {error.stderr}") from error
                time.sleep(0.05)
            else:
                return


def _pair_of_commits(template: Path, offset_s: float) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        project = copy_project(template, folder)

        def commit_file(name: str) -> Callable[[], Any]:
            def work() -> Any:
                (project / "data" / "raw" / name).write_text(f"text,label\n{name} was lovely,good\n", encoding="utf-8")
                return _with_log(lambda: DvcRepository(project, VersioningConfig()).commit(name))

            return work

        before = git(project, "rev-parse", "HEAD")
        outcomes = _both(commit_file("one.csv"), commit_file("two.csv"), offset_s)
        finding = _judge_pair(project, outcomes, before)
        ancestors = git(project, "rev-list", "HEAD").splitlines()
        for outcome, name in zip(outcomes, ("one.csv", "two.csv"), strict=True):
            if outcome.exit_code == 0:
                commit = outcome.value[0].commit_id
                if commit not in ancestors:
                    finding.violations.append(f"the commit {commit} of {name} is not in the history")
        return finding

    return run


def _pair_of_runs(template: Path, offset_s: float) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        project = copy_project(template, folder)

        def run_with_batch(name: str) -> Callable[[], Any]:
            def work() -> Any:
                add_batch(project, name)
                return _with_log(lambda: operations.materialize(project, is_alone=False))

            return work

        before = git(project, "rev-parse", "HEAD")
        finding = _judge_pair(project, _both(run_with_batch("one.csv"), run_with_batch("two.csv"), offset_s), before)
        alone = copy_project(template, folder.with_name(f"{folder.name}-alone"))
        add_batch(alone, "one.csv")
        add_batch(alone, "two.csv")
        expected = run_with(Fault(), lambda: operations.materialize(alone)).value
        again = run_with(Fault(), lambda: operations.materialize(project))
        if again.exit_code != 0:
            finding.violations.append(f"one more run failed: {again.error}")
        elif again.value != expected:
            finding.violations.append(f"one more run gave {again.value}, not {expected}")
        finding.violations += list(violations_after_recovery(project))
        return finding

    return run


def _both(first: Callable[[], Any], second: Callable[[], Any], offset_s: float) -> list[Outcome]:
    one = Victim.start(Fault(), first)
    time.sleep(offset_s)
    two = Victim.start(Fault(), second)
    return [one.outcome(), two.outcome()]


def _judge_pair(project: Path, outcomes: list[Outcome], before: str) -> Finding:
    finding = Finding(hit=True)
    for outcome in outcomes:
        if outcome.exit_code == 0:
            finding.notes.append("came to its end" + (", and said that it waited" if outcome.value[1] else ""))
        elif outcome.is_explained:
            finding.notes.append(f"ended with {outcome.error.partition(' ')[0]}")
        else:
            finding.unexplained.append(outcome.error or str(outcome.exit_code))
    # What both put into the folder is looked at by who made it.
    state = Before(before, {}, Before.of(project).batches)
    finding.violations += list(violations(project, state))
    if git(project, "rev-list", "--merges", "HEAD"):
        finding.violations.append("the history is not linear")
    return finding


def _with_log(work: Callable[[], Any]) -> tuple[Any, bool]:
    """What it returned, and whether it said that it waited."""
    from ftzard.resources import project_lock

    # Told after ten seconds, which no commit here takes.
    project_lock._LOCK_NOTICE_S = 0.05
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger("ftzard")
    logger.setLevel(logging.INFO)
    logger.addHandler(Listener())
    return work(), any(text.startswith(_WAITING) for text in said)
