"""Secrets where they would be read by everybody: in the URL of a remote, or in a configuration that git keeps."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ftzard.errors import SecretExposedError
from ftzard.resources.git import Git

# A user name that is a token: those of GitHub, GitLab and the Hugging Face hub begin so.
_TOKEN = re.compile(r"^(gh[a-z]_|github_pat_|glpat-|hf_|x-access-token|x-token-auth|oauth2)")
# DVC's options that hold a secret; the same in `.dvc/config.local` is where they belong.
_SECRET_OPTIONS = frozenset(
    {
        "access_key_id",
        "account_key",
        "client_secret",
        "connection_string",
        "custom_auth_header",
        "gdrive_client_secret",
        "oss_key_secret",
        "passphrase",
        "password",
        "sas_token",
        "secret_access_key",
        "session_token",
        "sse_customer_key",
        "token",
    }
)


def refuse_secret_in_git_remote(git: Git, remote: str) -> None:
    """Refuse a git remote whose URL holds a password or a token.

    Raises:
        SecretExposedError: It does; the message names the remote and never the secret.
    """
    result = git.attempt("remote", "get-url", "--push", "--all", remote)
    if any(holds_secret(url) for url in result.text.splitlines()):
        raise SecretExposedError(
            f"the URL of the git remote {remote!r} holds a password or a token",
            fix=f"take it out with `git remote set-url {remote} URL`, and let git ask a credential helper "
            "(`git help credentials`) or use an SSH key; then make the secret invalid",
        )


def refuse_secret_in_dvc_remote(remote: str, options: Mapping[str, Any], committed: Mapping[str, Any]) -> None:
    """Refuse a DVC remote with a secret in its URL, or in the configuration file that git keeps.

    Args:
        remote: Its name.
        options: All that DVC knows of it.
        committed: What `.dvc/config` alone says of it.

    Raises:
        SecretExposedError: It has one; the message names the remote and the option, never the secret.
    """
    exposed = sorted(_SECRET_OPTIONS & committed.keys())
    if holds_secret(str(options.get("url", ""))):
        exposed = ["url", *exposed]
    if exposed:
        raise SecretExposedError(
            f"the DVC remote {remote!r} holds a secret in {', '.join(exposed)}, where everybody who has the repository "
            "or its logs can read it",
            fix=f"take it out of .dvc/config, give it with `dvc remote modify --local {remote} OPTION VALUE` or by the "
            "environment, and make the old one invalid",
        )


def holds_secret(url: str) -> bool:
    """Whether a URL holds a password, or a user name that is a token."""
    try:
        parts = urlsplit(url)
        return parts.password is not None or bool(_TOKEN.match(parts.username or ""))
    except ValueError:
        # No URL, such as a path with brackets: nothing can be in it.
        return False
