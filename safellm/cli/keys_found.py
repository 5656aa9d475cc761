"""Where people's keys lie about: variables, `.env` files, shell profiles. Read only when somebody asks for an import."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from safellm._core.secret import Secret
from safellm.errors import ConfigurationError
from safellm.profiles import profiles

# Variable -> name that the key gets, which is also whose it is. The profiles' are added below.
SDK_VARIABLES: Final[Mapping[str, str]] = {
    "OPENAI_API_KEY": "openai",
    "AZURE_OPENAI_API_KEY": "azure",  # has no origin of its own: each resource has another
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock",  # the same: each region has another
    "OPENAI_ADMIN_KEY": "openai-admin",
    "ANTHROPIC_API_KEY": "anthropic",
    "ANTHROPIC_AUTH_TOKEN": "anthropic-auth-token",
    "ANTHROPIC_FOUNDRY_API_KEY": "anthropic-foundry",  # the same
    "GOOGLE_API_KEY": "google",
    "GEMINI_API_KEY": "google",
}
_PROFILES: Final = (
    ".profile", ".bash_profile", ".bashrc", ".zprofile", ".zshrc", ".zshenv", ".config/fish/config.fish",
)  # fmt: skip
_LARGEST: Final = 1024 * 1024  # a profile has some kilobytes
_LINE: Final = re.compile(
    r"^\s*(?:export\s+|set\s+(?:-\w+\s+)*)?(?P<variable>[A-Z][A-Z0-9_]*)\s*[= ]\s*(?P<value>\S+)\s*(?:#.*)?$"
)
_REFERENCE: Final = re.compile(r"[$`<>{}()]")  # ${KEY}, $(pass show key), <your-key>: no key


@cache
def variables() -> Mapping[str, str]:
    """Return the name of the key that each variable of an SDK or a profile holds."""
    rest = {one.variable: name for name, one in profiles().items() if one.variable not in SDK_VARIABLES}
    return {**SDK_VARIABLES, **rest}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKey:
    """A key in the clear.

    Attributes:
        path: The file; None: a variable of this process.
        line: In the file, from 1.
    """

    variable: str
    secret: Secret
    path: Path | None = None
    line: int = 0

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"variable {self.variable}" if self.path is None else f"{self.path}:{self.line}"


def find_keys(environ: Mapping[str, str], *, files: tuple[Path, ...] = ()) -> Iterator[FoundKey]:
    """Yield the keys in variables and files, those of the process first.

    Args:
        environ: The process's variables.
        files: Files of lines like `NAME=value`; what isn't there is passed over.

    Raises:
        ConfigurationError: a file is there and can't be read.
    """
    for variable in variables():
        if value := environ.get(variable, "").strip():
            yield FoundKey(variable=variable, secret=Secret(value))
    for path in files:
        for number, line in enumerate(_lines(path), 1):
            found = _LINE.match(line)
            if found and found["variable"] in variables():
                value = found["value"].strip("\"'")
                if value and not _REFERENCE.search(value):
                    yield FoundKey(variable=found["variable"], secret=Secret(value), path=path, line=number)


def usual_files(environ: Mapping[str, str], folder: Path) -> tuple[Path, ...]:
    """Return the files in which keys are usually kept: `.env` of the working folder, and the profiles of shells."""
    home = environ.get("HOME") or environ.get("USERPROFILE") or ""
    profiles = tuple(Path(home, name) for name in _PROFILES) if home else ()
    return (*sorted(folder.glob(".env*")), *profiles)


def take_out(found: FoundKey, name: str) -> None:
    """Replace the line of a key by a comment, in one step; the rest of the file stays byte for byte.

    Raises:
        ConfigurationError: the file was changed meanwhile or can't be written; it is as it was then.
    """
    path = found.path
    if path is None:
        return
    lines = path.read_bytes().splitlines(keepends=True)
    at = found.line - 1
    if at >= len(lines) or found.secret.reveal().encode() not in lines[at]:
        raise ConfigurationError(f"{path} was changed meanwhile", remedy="Take the key out by hand.")
    end = lines[at][len(lines[at].rstrip(b"\r\n")) :]
    lines[at] = f"# {found.variable} is in the key store of safellm now, as {name}".encode() + end
    beside = path.with_name(f".{path.name}.safellm")
    try:
        mode = path.stat().st_mode & 0o777
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path.resolve())
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{path} can't be written ({error.strerror})", remedy="Take the key out by hand."
        ) from None


def _lines(path: Path) -> list[str]:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return []
        return path.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read ({error.strerror})", remedy="Mend its permissions.") from None
