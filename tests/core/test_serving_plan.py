"""Which files the next run takes: each once, a bad one does not hold up the others, and nothing loops."""

from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.serving_plan import Attempt, Request, plan_serving

ASSETS = ("incoming", "predictions", "queue")
NOTHING: dict[str, set[str]] = {name: set() for name in ASSETS}


def all_made(keys: set[str]) -> dict[str, set[str]]:
    return dict.fromkeys(ASSETS, keys)


def test_neighbours_go_together_up_to_the_limit() -> None:
    plan = plan_serving("abcde", ASSETS, NOTHING, (), 3)
    assert plan.request == Request(("a", "b", "c"), ASSETS)
    assert plan.num_waiting == 2


def test_what_is_done_parts_the_neighbours() -> None:
    made = all_made({"b"})
    assert plan_serving("abc", ASSETS, made, (), 9).request == Request(("a",), ASSETS)


def test_only_what_a_file_lacks_is_asked_for() -> None:
    made = {"incoming": {"a", "b"}, "predictions": {"a"}, "queue": set()}
    assert plan_serving("ab", ASSETS, made, (), 9).request == Request(("a",), ("queue",))


def test_files_that_a_killed_run_has_read_go_together_with_those_it_has_not() -> None:
    made = {"incoming": {"b", "d"}, "predictions": set[str](), "queue": set[str]()}
    assert plan_serving("abcde", ASSETS, made, (), 9).request == Request(tuple("abcde"), ASSETS)


def test_files_of_a_failed_run_are_tried_alone_after_those_that_were_not_tried() -> None:
    failed = (Attempt(("a", "b"), is_death=False),)
    assert plan_serving("abc", ASSETS, NOTHING, failed, 9).request == Request(("c",), ASSETS)
    made = all_made({"c"})
    assert plan_serving("abc", ASSETS, made, failed, 9).request == Request(("a",), ASSETS)


def test_a_file_that_failed_alone_is_given_up_and_said_so() -> None:
    plan = plan_serving("ab", ASSETS, all_made({"b"}), (Attempt(("a",), is_death=False),), 9)
    assert plan.request is None
    assert plan.given_up == ("a",)


def test_a_run_that_was_killed_is_asked_for_again_but_not_for_ever() -> None:
    deaths = [Attempt(("a",), is_death=True)] * 2
    assert plan_serving("a", ASSETS, NOTHING, deaths, 9).request == Request(("a",), ASSETS)
    assert plan_serving("a", ASSETS, NOTHING, [*deaths, deaths[0]], 9).request is None


@given(st.lists(st.sampled_from("abcdefgh"), max_size=4), st.sets(st.sampled_from("abcdefgh")), st.integers(1, 8))
def test_it_ends_with_every_file_done_or_given_up(poison: list[str], done: set[str], max_files: int) -> None:
    made = {name: set(done) for name in ASSETS}
    attempts: list[Attempt] = []
    for _ in range(50):
        plan = plan_serving("abcdefgh", ASSETS, made, attempts, max_files)
        if plan.request is None:
            break
        assert not set(plan.request.keys) & made["queue"], "a file is done twice"
        if set(plan.request.keys) & set(poison):
            attempts.append(Attempt(plan.request.keys, is_death=False))
        else:
            for name in plan.request.assets:
                made[name] |= set(plan.request.keys)
    assert plan.request is None
    assert made["queue"] == set("abcdefgh") - (set(poison) - done)
    assert set(plan.given_up) == set(poison) - done
