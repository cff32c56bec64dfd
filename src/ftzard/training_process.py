"""The process that trains: `python -m ftzard.training_process JOB OUTPUT`.

JOB is a folder that `ftzard.resources.job_folder` wrote, OUTPUT an empty one. The exit code says what became of it:

    0    OUTPUT holds the adapter and what was written down
    1    it failed; OUTPUT/rank-N.json says with what
    2    the arguments are wrong
    3    another rank is gone; a checkpoint of the last whole step is kept
    130  it was asked to end (SIGTERM, SIGINT, its standard input ended, or its heartbeat); likewise

RANK and WORLD_SIZE, as torchrun sets them, make it one of several. Where Dagster Pipes is set up, rank 0 tells its log
and its progress by it. What the process writes to standard output and error goes to a file for each rank.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ftzard.composition import to_dict, validate
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import ConfigError, FtzardError
from ftzard.resources.interruption import Interruption, ask_to_end, end_with_standard_input, end_without_heartbeat
from ftzard.resources.rank_reports import DONE, FAILED, INTERRUPTED, RANK_LOST, RankReport, log_file

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dagster_pipes import PipesContext

    from ftzard.core.data_parallel import Ranks
    from ftzard.core.devices import Device
    from ftzard.core.progress import Progress
    from ftzard.core.training_job import TrainingJob

_logger = logging.getLogger(__name__)


class _PipesHandler(logging.Handler):
    """Hands log records to the process that started this one, as they come."""

    def __init__(self, pipes: "PipesContext") -> None:
        super().__init__()
        self._pipes = pipes

    def emit(self, record: logging.LogRecord) -> None:
        told = {"level": record.levelno, "name": record.name, "message": record.getMessage()}
        self._pipes.report_custom_message({"log": told})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one process of a training; returns its exit code."""
    given = _parser().parse_args(arguments)
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    interruption = Interruption()
    interruption.listen()
    if given.log_folder is not None:
        _redirect_to(log_file(given.log_folder, rank))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    if given.tied_to_stdin:
        end_with_standard_input(ask_to_end)
    if given.heartbeat is not None:
        end_without_heartbeat(given.heartbeat, given.peer_timeout_s, ask_to_end)
    RankReport.of(rank).write(given.output)
    with _pipes(rank) as tell:
        code, error = _outcome(given, rank, size, interruption, tell)
        # Whatever asks now is too late.
        interruption.ignore()
    RankReport.of(rank, code, error).write(given.output)
    return code


def _outcome(
    given: argparse.Namespace,
    rank: int,
    size: int,
    interruption: Interruption,
    tell: "Callable[[Progress], None]",
) -> tuple[int, BaseException | None]:
    from ftzard.core.data_parallel import RankLostInterrupt
    from ftzard.core.devices import resolve_device
    from ftzard.resources.job_folder import read_job

    try:
        with disk_failures_explained():
            job = read_job(given.job)
            device = resolve_device(job.config.training.device)
            with _ranks(given, rank, size, interruption, device) as ranks:
                _train(given, _with_one_precision(job, ranks), ranks, interruption, tell)
    except RankLostInterrupt as error:
        _logger.warning("%s", error)
        return (INTERRUPTED if interruption.is_asked else RANK_LOST), None
    except KeyboardInterrupt:
        _logger.warning("asked to end")
        return INTERRUPTED, None
    except FtzardError as error:
        _logger.error("%s", error)  # noqa: TRY400 - it says what to do; where it was raised is of no use
        return FAILED, error
    except Exception as error:
        _logger.exception("failed")
        return FAILED, error
    return DONE, None


def _train(
    given: argparse.Namespace,
    job: "TrainingJob",
    ranks: "Ranks",
    interruption: Interruption,
    tell: "Callable[[Progress], None]",
) -> None:
    import torch

    from ftzard.core.base_model import describe_base_model
    from ftzard.core.training import help_training
    from ftzard.core.training_job import train_here
    from ftzard.resources.job_folder import adapter_folder, write_trained

    if given.num_threads is not None:
        torch.set_num_threads(given.num_threads)

    def on_progress(progress: "Progress") -> None:
        tell(progress)
        # From now on there is something to keep. The other ranks keep nothing: rank 0 does when it finds one gone.
        interruption.check()

    if ranks.rank:
        help_training(job.splits, job.config, job.labels, ranks, initial=job.initial)
        return
    # The libraries are there before memory is measured, as they are in the process of an asset.
    import peft  # noqa: F401

    describe_base_model(job.config.model)
    trained = train_here(
        job, adapter_folder(given.output), checkpoint_dir=given.checkpoints, on_progress=on_progress, ranks=ranks
    )
    write_trained(trained, given.output)


def _with_one_precision(job: "TrainingJob", ranks: "Ranks") -> "TrainingJob":
    """Where the quantization depends on the memory that is free, let rank 0 choose for all."""
    from ftzard.core.base_model import describe_base_model
    from ftzard.core.devices import resolve_device
    from ftzard.core.precision import precision_for

    if ranks.size == 1 or job.config.model.quantization != "auto":
        return job
    source, model_config, _ = describe_base_model(job.config.model)
    device = resolve_device(job.config.training.device)
    chosen = ranks.told(precision_for(source, job.config.model, device, model_config).quantization)
    values = to_dict(job.config)
    return replace(job, config=validate(values | {"model": values["model"] | {"quantization": chosen}}))


@contextmanager
def _pipes(rank: int) -> "Iterator[Callable[[Progress], None]]":
    """What tells Dagster of progress; nobody where there is no Dagster, or somebody else tells it."""
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, open_dagster_pipes

    if rank or DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ:
        yield lambda _: None
        return
    with open_dagster_pipes() as pipes:
        handler, package = _PipesHandler(pipes), logging.getLogger("ftzard")
        package.addHandler(handler)
        try:
            yield lambda progress: pipes.report_custom_message({"progress": asdict(progress)})
        finally:
            package.removeHandler(handler)


def _ranks(
    given: argparse.Namespace, rank: int, size: int, interruption: Interruption, device: "Device"
) -> "AbstractContextManager[Ranks]":
    from ftzard.core.data_parallel import ALONE, joined_ranks

    if size == 1:
        return nullcontext(ALONE)
    if device == "cuda":
        _take_a_gpu(int(os.environ.get("LOCAL_RANK", rank)))
    # A file that all processes of this machine see: no port is opened for it, and nothing in it is unpickled.
    rendezvous = f"file://{given.output.resolve() / 'rendezvous'}"
    return joined_ranks(
        rank, size, rendezvous, device=device, timeout_s=given.peer_timeout_s, on_lost=interruption.ignore
    )


def _take_a_gpu(number: int) -> None:
    """Compute on one GPU of this machine.

    Raises:
        ConfigError: There are not so many.
    """
    import torch

    there_are = torch.cuda.device_count()
    if number >= there_are:
        raise ConfigError(
            f"there is no GPU for process {number + 1} of the training, only {there_are}",
            fix=f"set launcher.num_processes={there_are}, or training.device=cpu",
        )
    torch.cuda.set_device(number)


def _redirect_to(path: Path) -> None:
    """Let everything that is written to standard output and error, also by C libraries, go to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.close(target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ftzard.training_process", description="Train one adapter.")
    parser.add_argument("job", type=_folder, help="the folder of the job, named by its content")
    parser.add_argument("output", type=_folder, help="an empty folder for what comes of it")
    parser.add_argument("--checkpoints", type=Path, help="where trainings keep their checkpoints")
    parser.add_argument(
        "--log-folder", type=Path, help="where the log of each rank goes, instead of to standard output"
    )
    parser.add_argument("--num-threads", type=int, help="CPU threads of this process")
    parser.add_argument("--peer-timeout-s", type=float, default=600.0, help="how long to wait for another rank")
    parser.add_argument("--tied-to-stdin", action="store_true", help="end when standard input does")
    parser.add_argument(
        "--heartbeat", type=Path, help="end when nobody writes to this file for as long as another rank is waited for"
    )
    return parser


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        message = f"there is no folder {text}"
        raise argparse.ArgumentTypeError(message)
    return path


def _exit() -> NoReturn:
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: threads of libraries that wait for a lost rank would keep the process.
    os._exit(code)


if __name__ == "__main__":
    _exit()
