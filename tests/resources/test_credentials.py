"""What is a secret in a URL and what is not."""

import re

import pytest
from dvc.config_schema import REMOTE_SCHEMAS

from ftzard.errors import SecretExposedError
from ftzard.resources.credentials import holds_secret, refuse_secret_in_dvc_remote


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:pass@example.org/x.git",
        "https://:pass@example.org/x.git",
        "https://ghp_0123456789@example.org/x.git",
        "https://hf_0123456789@huggingface.co/team/x",
        "https://x-access-token@example.org/x.git",
        "ssh://ada:pass@example.org/x.git",
    ],
)
def test_a_password_or_a_token_is_a_secret(url: str) -> None:
    assert holds_secret(url)


@pytest.mark.parametrize(
    "url",
    [
        "git@example.org:team/x.git",
        "ssh://git@example.org/x.git",
        "https://ada@example.org/x.git",
        "https://example.org/x.git",
        "s3://bucket/path",
        "/a folder/with:colon@sign",
        "https://[broken",
        "",
    ],
)
def test_a_name_a_path_and_an_address_are_none(url: str) -> None:
    assert not holds_secret(url)


def test_a_secret_option_is_fine_in_the_file_that_git_ignores() -> None:
    options = {"url": "s3://bucket/x", "secret_access_key": "s3cret"}
    refuse_secret_in_dvc_remote("store", options, {"url": "s3://bucket/x"})
    with pytest.raises(SecretExposedError, match="secret_access_key") as caught:
        refuse_secret_in_dvc_remote("store", options, options)
    assert "s3cret" not in str(caught.value)


def test_every_option_of_dvc_that_sounds_like_a_secret_is_refused_where_git_keeps_it() -> None:
    sounds = re.compile(r"password|passphrase|secret|token$|connection_string|(account|customer)_key$")
    names = {str(name) for schema in REMOTE_SCHEMAS.values() for name in schema}
    secret = {name for name in names if sounds.search(name) and not name.startswith("ask_")}
    assert {"passphrase", "password", "sse_customer_key", "secret_access_key"} <= secret
    for name in sorted(secret):
        with pytest.raises(SecretExposedError, match=f"holds a secret in {name},"):
            refuse_secret_in_dvc_remote("store", {"url": "s3://bucket/x"}, {name: "s3cret"})
