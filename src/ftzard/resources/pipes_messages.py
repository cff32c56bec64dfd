"""What a training in a process of its own tells meanwhile, through Dagster Pipes and two files."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from ftzard.core.progress import Progress


@contextmanager
def told_messages(
    context: "dg.AssetExecutionContext | None", on_progress: Callable[[Progress], None] | None, folder: Path
) -> Iterator[tuple[Mapping[str, str], Callable[[], None]]]:
    """What a process needs in its environment to tell of itself, and what hands on what it told since the last time.

    Args:
        context: The Dagster step that is told; None where there is none.
        on_progress: Takes the progress.
        folder: Where the files are that it is told by; whoever trains sees it too.
    """
    if context is None:
        yield {}, lambda: None
        return
    num_handled = 0

    def poll() -> None:
        nonlocal num_handled
        messages = session.get_custom_messages()[num_handled:]
        num_handled += len(messages)
        for message in messages:
            if "log" in message:
                told = message["log"]
                # In our own log, from where it goes to Dagster's and to the terminal as any step's does.
                logging.getLogger(told["name"]).log(told["level"], "%s", told["message"])
            elif on_progress is not None:
                on_progress(Progress(**message["progress"]))

    reader = dg.PipesFileMessageReader(str((folder / "messages").resolve()))
    injector = dg.PipesFileContextInjector(str((folder / "context.json").resolve()))
    with dg.open_pipes_session(context, context_injector=injector, message_reader=reader) as session:
        yield session.get_bootstrap_env_vars(), poll
    # What came last is read when the session closes.
    poll()
