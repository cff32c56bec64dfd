"""`python -m tests.faults [--short]`: every fault, its counts, and exit code 1 where an invariant did not hold."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator

from tests.faults.scenarios import Tally, commit_scenario, pipeline_scenario, preload, random_kills_scenario


def _tallies(scenarios: list[str], *, short: bool, seed: int) -> Iterator[Tally]:
    if "commit" in scenarios:
        yield from commit_scenario(["kill", "no_space", "io_error"], 3 if short else None, seed)
    if "pipeline" in scenarios:
        yield from pipeline_scenario(["kill", "no_space"], 1 if short else 100, seed)
    if "random" in scenarios:
        yield random_kills_scenario(1 if short else 200, seed)


def main() -> int:
    """Run the scenarios and print what they showed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=["commit", "pipeline", "random"])
    parser.add_argument("--short", action="store_true", help="a few faults of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftzard-home-") as home:
        # Neither the machine's configuration nor a person's has a say.
        os.environ |= {
            "HOME": home,
            "GIT_CONFIG_NOSYSTEM": "1",
            "DVC_NO_ANALYTICS": "1",
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        os.environ |= {"DVC_SITE_CACHE_DIR": f"{home}/dvc", "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}
        preload()
        found = 0
        for tally in _tallies(arguments.scenarios, short=arguments.short, seed=arguments.seed):
            print(tally, flush=True)  # noqa: T201 - what this command is for
            found += len(tally.violations) + len(tally.unexplained)
    print("No invariant was violated." if not found else f"{found} violation(s).")  # noqa: T201
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
