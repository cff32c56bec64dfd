"""Remotes and a tracking server that die while something is being sent to them, and come back."""

import random
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.faults import operations
from tests.faults.injection import Fault, Victim, run_with
from tests.faults.project import git, missing_objects
from tests.faults.templates import Templates, copy_project
from tests.faults.trials import Finding, Tally, Trial, run_trials
from tests.tracking_server import TrackingServer

from ftzard.config import TrackingConfig, VersioningConfig
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.versioning import DvcRepository

_BOTH = VersioningConfig(git_remote="origin", push_attempts=1)


def remotes_scenario(templates: Templates, scratch: Path, num_faults: int, seed: int, jobs: int) -> Tally:
    """DVC's remote in a folder and over HTTP, and git's remote, each dying in the middle of a push."""
    draw = random.Random(f"{seed} remotes")  # noqa: S311 - not for secrets
    kinds = {"folder": _folder_dies, "http": _http_dies, "git folder": _git_folder_vanishes, "git hook": _git_hook_dies}
    trials = [
        Trial(f"{name} at {share:.2f}", _remote_trial(templates.fresh, dies, share))
        for name, dies in kinds.items()
        for share in (draw.random() for _ in range(num_faults))
    ]
    return run_trials("remotes that die", trials, scratch, jobs)


def tracking_scenario(templates: Templates, scratch: Path, num_kills: int, seed: int, jobs: int) -> Tally:
    """The MLflow server, killed at a random instant of a whole run, and started again afterwards."""
    draw = random.Random(f"{seed} tracking")  # noqa: S311 - not for secrets
    trials = [
        Trial(f"tracking server killed after {after_s:.1f} s", _tracking_trial(templates.stored, after_s))
        for after_s in (draw.uniform(1.0, 12.0) for _ in range(num_kills))
    ]
    return run_trials("tracking server killed", trials, scratch, jobs)


Dies = Callable[[Path, float, Callable[[], DataCommit]], DataCommit]


def _remote_trial(template: Path, dies: Dies, share: float) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        folder.mkdir()
        project = copy_project(template, folder / "project")
        git(folder, "init", "--quiet", "--bare", "hub.git")
        git(project, "remote", "add", "origin", str(folder / "hub.git"))
        for number in range(20):
            (project / "data" / "raw" / f"more-{number}.csv").write_text(f"text,label\n{number} is fine,good\n" * 50)

        def work() -> DataCommit:
            return DvcRepository(project, _BOTH).commit("Data")

        finding = Finding()
        outcome = run_with(Fault(), lambda: dies(project, share, work))
        if outcome.exit_code != 0:
            told = finding.violations if outcome.is_explained else finding.unexplained
            told.append(f"a remote that dies stopped the commit: {outcome.error}")
            return finding
        struck: DataCommit = outcome.value
        finding.hit = struck.pending is not None
        finding.notes.append("told as pending" if finding.hit else "the push came to its end")
        if git(project, "rev-parse", "HEAD") != struck.commit_id:
            finding.violations.append("the local commit is gone")
        with _HttpStore(folder / "http", project):
            pushed = run_with(Fault(), lambda: DvcRepository(project, _BOTH).push_pending())
        if pushed.exit_code != 0:
            finding.violations.append(f"the push afterwards failed: {pushed.error}")
        elif git(folder / "hub.git", "rev-parse", struck_ref(project)) != struck.commit_id:
            finding.violations.append("the git remote does not have the commit")
        store = folder / "http" if (folder / "http" / "files").is_dir() else project / "dvc-remote"
        finding.violations += [f"the remote: {what}" for what in missing_objects(project, "HEAD", (str(store),))]
        if (project / ".dvc" / "tmp" / "ftzard-pending.json").exists():
            finding.violations.append("something is still queued")
        return finding

    return run


def struck_ref(project: Path) -> str:
    """The branch that is checked out."""
    return git(project, "symbolic-ref", "HEAD")


def _folder_dies(project: Path, share: float, work: Callable[[], DataCommit]) -> DataCommit:
    """The folder becomes one that cannot be made (a file takes its place) once it holds a share of the objects."""
    store = project / "dvc-remote"

    def watch() -> None:
        while len(list((store / "files").rglob("*"))) < share * 40:
            time.sleep(0.0005)
        away = store.with_suffix(".away")
        while True:
            try:
                store.rename(away)
                store.touch()
                return  # noqa: TRY300 - until it has worked once
            except OSError:
                time.sleep(0.0005)

    threading.Thread(target=watch, daemon=True).start()
    done = work()
    if store.is_file():
        store.unlink()
        store.with_suffix(".away").rename(store)
    return done


def _http_dies(project: Path, share: float, work: Callable[[], DataCommit]) -> DataCommit:
    """The server closes the connection after some bytes, and answers nobody from then on."""
    with _HttpStore(project.parent / "http", project, dies_after=int(share * 20_000)):
        return work()


def _git_folder_vanishes(project: Path, share: float, work: Callable[[], DataCommit]) -> DataCommit:
    hub = project.parent / "hub.git"
    after = time.monotonic() + share

    def vanish() -> None:
        time.sleep(max(0.0, after - time.monotonic()))
        hub.rename(hub.with_suffix(".away"))

    thread = threading.Thread(target=vanish)
    thread.start()
    done = work()
    thread.join()
    hub.with_suffix(".away").rename(hub)
    return done


def _git_hook_dies(project: Path, share: float, work: Callable[[], DataCommit]) -> DataCommit:
    """What receives is killed, before or after it has taken the objects."""
    name = "pre-receive" if share < 0.5 else "update"
    hook = project.parent / "hub.git" / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n", encoding="utf-8")
    hook.chmod(0o755)
    done = work()
    hook.unlink()
    return done


class _HttpStore:
    """A DVC remote over HTTP on a loopback port, kept in a folder; used only where a trial has made the folder one."""

    def __init__(self, folder: Path, project: Path, dies_after: int | None = None) -> None:
        self._folder, self._project = folder, project
        self._budget = dies_after
        self._is_used = dies_after is not None or folder.is_dir()

    def __enter__(self) -> None:  # noqa: C901 - a server's few methods
        if not self._is_used:
            return
        self._folder.mkdir(exist_ok=True)
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(is_body=False)

            def do_GET(self) -> None:
                self._answer(is_body=True)

            def do_POST(self) -> None:
                self._receive()

            def do_PUT(self) -> None:
                self._receive()

            def _receive(self) -> None:
                if store._is_dead():
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self._body()
                if store._spend(len(body)):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                path = store._path(self.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                if length := self.headers.get("Content-Length"):
                    return self.rfile.read(int(length))
                body = b""
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, *, is_body: bool) -> None:
                if store._is_dead():
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                path = store._path(self.path)
                content = path.read_bytes() if path.is_file() else None
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if is_body and content is not None:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        config = self._project / ".dvc" / "config.local"
        url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        config.write_text(f"[core]\n    remote = web\n['remote \"web\"']\n    url = {url}\n    method = PUT\n")

    def __exit__(self, *_: object) -> None:
        if self._is_used:
            self._server.shutdown()

    def _is_dead(self) -> bool:
        return self._budget is not None and self._budget <= 0

    def _spend(self, size: int) -> bool:
        if self._budget is not None:
            self._budget -= size
        return self._is_dead()

    def _path(self, url: str) -> Path:
        return self._folder / url.lstrip("/")


def _tracking_trial(template: Path, after_s: float) -> Callable[[Path], Finding]:
    def run(folder: Path) -> Finding:
        folder.mkdir()
        project = copy_project(template, folder / "project")
        server = TrackingServer(folder / "server", template / "mlflow.db")
        finding = Finding()
        try:
            server.start()
            settings = [f"tracking.tracking_uri={server.uri}", "tracking.request_timeout_s=2"]
            # It has to have answered once, or its address is taken for a wrong one.
            _connect(project, server.uri)
            worker = Victim.start(Fault(), lambda: operations.materialize(project, *settings))
            began = time.monotonic()
            while not worker.is_over and time.monotonic() - began < after_s:
                time.sleep(0.02)
            finding.hit = not worker.is_over
            server.kill()
            struck = worker.outcome()
            if struck.exit_code != 0:
                # The registry is asked at once or not at all: a champion is not chosen in its absence.
                finding.notes.append(f"ended with {struck.error.partition(' ')[0]}: {_step_of(struck.error)}")
                if not struck.is_explained:
                    finding.unexplained.append(struck.error)
            else:
                finding.notes.append("the run ended well")
            server.start()
            again = run_with(
                Fault(), lambda: (operations.materialize(project, *settings), _tracked(project, server.uri))
            )
            if again.exit_code != 0:
                finding.violations.append(f"one more run failed: {again.error}")
            else:
                finding.violations += again.value[1]
        finally:
            server.kill()
        return finding

    return run


def _step_of(error: str) -> str:
    """Which function of `ftzard.assets` it came from."""
    import re

    found = re.findall(r"ftzard/(?:assets/\w+|materialization|champion)\.py\", line \d+, in (\w+)", error)
    return str(found[-1]) if found else "elsewhere"


def _connect(project: Path, uri: str) -> None:
    from ftzard.resources.tracking import Tracking

    outcome = run_with(Fault(), lambda: len(Tracking(TrackingConfig(tracking_uri=uri), project).runs()))
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.error)


def _tracked(project: Path, uri: str) -> list[str]:
    """What is not on the server, or twice."""
    from ftzard.composition import compose
    from ftzard.definitions import SPINE
    from ftzard.resources.tracked_run import DAGSTER_RUN_TAG
    from ftzard.resources.tracking import Tracking

    overrides = [*operations.TINY, f"tracking.tracking_uri={uri}"]
    tracking = Tracking(compose(overrides, project_dir=project).tracking, project)
    # Whoever opens a run sends first what waits.
    tracking.open_run("CHECK", tags={}).finish("FINISHED")
    wrong = [f"run {run_id} still waits in the outbox" for run_id in tracking.outbox.run_ids()]
    with tracking.connected() as client:
        experiment = client.get_experiment_by_name(tracking.config.experiment)
        runs = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    children = [run for run in runs if "ftzard.asset" in run.data.tags]
    finished = {run.data.tags["ftzard.asset"] for run in children if run.info.status == "FINISHED"}
    wrong += [f"{asset.name} has no finished run" for asset in SPINE if asset.name not in finished]
    wrong += [f"run {run.info.run_id} is {run.info.status}" for run in children if run.info.status == "RUNNING"]
    pairs = [(run.data.tags[DAGSTER_RUN_TAG], run.data.tags["ftzard.asset"]) for run in children]
    wrong += [f"{pair} is there {pairs.count(pair)} times" for pair in set(pairs) if pairs.count(pair) > 1]
    parents = [
        run.data.tags.get("ftzard.step", run.info.run_name) for run in runs if "mlflow.parentRunId" not in run.data.tags
    ]
    wrong += [
        f"the step {name} has {parents.count(name)} parent runs" for name in set(parents) if parents.count(name) > 1
    ]
    return wrong
