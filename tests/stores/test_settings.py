"""Where the policy comes from, what locks hold, and how problems are shown."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.effects import Unit, Window
from safellm._core.policy import Action, Audit, Budget, Mode, Policy
from safellm.errors import ConfigurationError
from safellm.stores.policy_layers import PREFIX, RESERVED, SETTINGS, SHORTHANDS, VARIABLES
from safellm.stores.policy_lines import key_lines
from safellm.stores.policy_order import ORDERS, UNORDERED, get, is_as_strict
from safellm.stores.settings import LoadedPolicy, check_file, load_policy

NOWHERE = {"SAFELLM_HOME": str(Path(tempfile.gettempdir()).absolute() / "safellm-nothing-here")}


def write(folder: Path, text: str) -> Path:
    file = folder / "policy.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def load(text: str | None = None, *, overrides: dict[str, object] | None = None, **variables: str) -> LoadedPolicy:
    """Load with `text` as the file and the given variables, without the machine's own settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = None if text is None else write(Path(folder), text)
        return load_policy(environ={**NOWHERE, **variables}, overrides=overrides, path=path)


def problems(text: str | None = None, **kwargs: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


# -- order of the places ------------------------------------------------------------------------------------------


def test_nothing_set_is_the_default_policy() -> None:
    """Defaults, each with its source."""
    loaded = load()
    assert loaded.policy == Policy()
    assert loaded.sources == dict.fromkeys(SETTINGS, "default")
    assert loaded.file is None


def test_later_places_win_and_are_named() -> None:
    """File over default, variable over file, argument over variable."""
    text = 'mode = "strict"\n\n[budget]\nmax_output_tokens = 10\n[audit]\nmode = "off"\n'
    loaded = load(
        text,
        SAFELLM_AUDIT_MODE="best_effort",
        SAFELLM_BUDGET_MAX_OUTPUT_TOKENS="20",
        overrides={"budget_max_output_tokens": 30},
    )
    assert loaded.policy.mode is Mode.STRICT
    assert loaded.policy.audit.mode == "best_effort"
    assert loaded.policy.budget.max_output_tokens == 30
    assert loaded.sources["mode"] == f"file {loaded.file} line 1"
    assert loaded.sources["audit.mode"] == "variable SAFELLM_AUDIT_MODE"
    assert loaded.sources["budget.max_output_tokens"] == "argument"
    assert loaded.sources["audit.sync"] == "default"


def test_users_file_is_found_and_the_named_one_stands_before_it(tmp_path: Path) -> None:
    """`policy.toml` in the configuration folder; `SAFELLM_POLICY`; the argument, in rising order."""
    write(tmp_path, "[limits]\njson_depth = 1\n")
    home = {"SAFELLM_HOME": str(tmp_path)}
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    named = write(tmp_path / "b", "[limits]\njson_depth = 2\n")
    given_path = write(tmp_path / "c", "[limits]\njson_depth = 3\n")
    assert load_policy(environ=home).policy.limits.json_depth == 1
    home["SAFELLM_POLICY"] = str(named)
    assert load_policy(environ=home).policy.limits.json_depth == 2
    assert load_policy(environ=home, path=given_path).policy.limits.json_depth == 3


def test_e_1_nothing_is_read_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that holds policy files of every plausible name and place changes nothing."""
    for name in ("policy.toml", "safellm.toml", ".safellm.toml", "pyproject.toml", ".env"):
        (tmp_path / name).write_text('mode = "observe"\n')
    for folder in (".config/safellm", ".safellm", "safellm"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder, 'mode = "observe"\n')
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": ".config"}
    assert load_policy(environ=environ).policy == Policy()
    with pytest.raises(ConfigurationError, match="relative"):
        load_policy(environ={**environ, "SAFELLM_POLICY": "policy.toml"})


@pytest.mark.parametrize(
    "overrides",
    [
        {"audit.mode": "off", "audit.sync": "none"},
        {"audit_mode": "off", "audit_sync": "none"},
        {"audit": {"mode": "off", "sync": "none"}},
        {"audit": Audit(mode="off", sync="none")},
        {"audit": Audit(mode="off"), "audit.sync": "none"},
    ],
)
def test_arguments_may_be_written_in_several_ways(overrides: dict[str, object]) -> None:
    """Dotted, with underscores, by section; a section object counts only what was set in it."""
    loaded = load("[audit]\nconsole = true\n", overrides=overrides)
    assert loaded.policy.audit == Audit(mode="off", sync="none", console=True)
    assert loaded.sources["audit.console"].startswith("file")


def test_types_are_merged_one_by_one() -> None:
    """A variable for one type leaves the file's other types alone; the sources name both."""
    loaded = load(
        '[redaction.types]\nEMAIL = "block"\nPHONE = "allow"\n', SAFELLM_REDACTION_TYPES="PHONE=remove,IBAN=allow"
    )
    assert loaded.policy.redaction.types == {"EMAIL": Action.BLOCK, "PHONE": Action.REMOVE, "IBAN": Action.ALLOW}
    assert loaded.sources["redaction.types"] == f"file {loaded.file} line 1 + variable SAFELLM_REDACTION_TYPES"


def test_budget_shorthands_set_limits() -> None:
    """Several amounts, added to the file's limits; the same account, unit and window is replaced."""
    text = '[[budget.limits]]\nusd = 9\nwindow = "day"\n[[budget.limits]]\nname = "team"\nusd = 7\n'
    loaded = load(text, SAFELLM_BUDGET_USD="5/day, 0.5 / hour", SAFELLM_BUDGET_TOKENS="100_000/hour")
    found = {(limit.name, limit.unit, limit.window): limit.limit for limit in loaded.policy.budget_limits()}
    assert found == {
        ("team", Unit.MICRO_USD, Window.DAY): 7_000_000,
        ("default", Unit.MICRO_USD, Window.DAY): 5_000_000,
        ("default", Unit.MICRO_USD, Window.HOUR): 500_000,
        ("default", Unit.TOKENS, Window.HOUR): 100_000,
    }
    assert load(overrides={"budget_usd": "5/day"}).policy.budget.limits == (Budget(usd=Decimal(5)),)
    assert load("[budget]\nusd = '5/day'\n").policy.budget.limits == (Budget(usd=Decimal(5)),)


@pytest.mark.parametrize(
    "value", ["5", "5/year", "/day", "-5/day", "0/day", "1e3/day", "5/day/x", "0.0000001/day", "9" * 30 + "/day"]
)
def test_malformed_budget_shorthand_is_an_error(value: str) -> None:
    """Each with an example of how to write it."""
    assert "for example 5/day" in problems(SAFELLM_BUDGET_USD=value)


def test_empty_variable_counts_as_not_set() -> None:
    """As container files write it for "no value"."""
    assert load(SAFELLM_MODE="", SAFELLM_POLICY=" ", SAFELLM_EGRESS_ORIGINS="").policy == Policy()


def test_reserved_variables_are_left_alone() -> None:
    """The closed list of variables that other parts read."""
    assert load(SAFELLM_LOCAL_MODEL="x").policy == Policy()
    assert not RESERVED & set(VARIABLES)


def test_every_setting_has_its_own_variable() -> None:
    """The mechanical names don't collide."""
    assert len(VARIABLES) == len(SETTINGS) + len(SHORTHANDS)
    assert {"SAFELLM_MODE", "SAFELLM_REDACTION_ENABLED", "SAFELLM_AUDIT_MODE"} <= set(VARIABLES)


# -- a variable says the same as the file -------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
ACTIONS = st.sampled_from([action.value for action in Action])
BUDGETS = st.tuples(
    NAMES,
    st.sampled_from([window.value for window in Window]),
    st.sampled_from(["tokens", "requests", "usd"]),
    st.integers(1, 10**9),
).map(lambda parts: {"name": parts[0], "window": parts[1], parts[2]: parts[3]})
KINDS: dict[str, st.SearchStrategy[object]] = {
    "mode": st.sampled_from([mode.value for mode in Mode]),
    "unknown_endpoints": st.sampled_from(["walk", "deny"]),
    "retention": st.sampled_from(["provider", "none"]),
    "redaction.default": ACTIONS,
    "redaction.types": st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), ACTIONS, max_size=4),
    "redaction.paths": st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(\[\*\])?\.[a-z*]", fullmatch=True), st.just("NAME"), max_size=3
    ),
    "redaction.remember": st.sampled_from(["process", "encrypted"]),
    "redaction.remember_days": st.integers(1, 3650),
    "redaction.restore_tool_arguments": st.lists(
        st.from_regex(r"[a-z*]{1,6}\.[a-z*]{1,6}", fullmatch=True), max_size=3
    ),
    "input.hidden_characters": st.sampled_from(["remove", "pass"]),
    "output.hidden_characters": st.sampled_from(["remove", "pass"]),
    "output.terminal_controls": st.sampled_from(["escape", "pass"]),
    "output.secrets": st.sampled_from(["pass", "registered", "all"]),
    "output.personal": st.sampled_from(["pass", "registered", "others"]),
    "output.canary": st.sampled_from(["off", "mask", "refuse"]),
    "output.links": st.sampled_from(["pass", "defang", "show"]),
    "content.binary": st.sampled_from(["pass", "deny"]),
    "content.documents": st.sampled_from(["pass", "secrets", "refuse"]),
    "redaction.countries": st.lists(st.sampled_from(["US", "DE", "FR"]), max_size=3, unique=True),
    "tools": st.dictionaries(NAMES, st.just({"action": "ask", "effect": True}), max_size=2),
    "untrusted.score": st.sampled_from(["untrusted", "all", "off"]),
    "untrusted.block_at": st.sampled_from(["0.5", "0.9", "1"]),
    "untrusted.delimiters": st.sampled_from(["defuse", "pass"]),
    "untrusted.spotlight": st.sampled_from(["off", "delimit", "mark", "encode"]),
    "tool_calls.undeclared": st.sampled_from(["deny", "allow"]),
    "tool_calls.arguments": st.sampled_from(["all", "listed", "none"]),
    "tool_calls.look_alikes": st.sampled_from(["deny", "allow"]),
    "tool_calls.approval_seconds": st.integers(1, 3600),
    "budget.limits": st.lists(BUDGETS, max_size=3, unique_by=lambda budget: (budget["name"], budget["window"])),
    "budget.tiers": st.dictionaries(
        NAMES.filter(lambda n: "." not in n), st.just({"limits": [{"usd": 3}]}), max_size=2
    ),
    "budget.labels": st.dictionaries(st.sampled_from(["team", "project"]), NAMES, max_size=2),
    "budget.ledger": st.sampled_from(["redis://h:1/0?prefix=a", "postgresql://u@h/d"]),
    "budget.on_outage": st.sampled_from(["refuse", "fallback"]),
    "budget.fallback_share": st.just(1),
    "budget.unknown_price": st.sampled_from(["refuse", "dearest"]),
    "prices": st.dictionaries(NAMES, st.just({"input": 1, "output": 2}), max_size=2),
    "audit.mode": st.sampled_from(["required", "best_effort", "off"]),
    "audit.sync": st.sampled_from(["each", "group", "none"]),
    "audit.users": st.sampled_from(["pseudonym", "plain", "off"]),
    "metrics": st.sampled_from(["auto", "on", "off", "prometheus", "prometheus:9465"]),
    "budget.webhook": st.sampled_from(["http://127.0.0.1:9/x", "http://localhost:80/"]),
    "audit.console_format": st.sampled_from(["text", "json"]),
    "audit.content": st.sampled_from(["off", "redacted", "full"]),
    "audit.content_key": st.just("safellm-content-public:" + "A" * 43),
    "audit.content_bytes": st.integers(1, 2**26),
    "alerts": st.lists(
        st.sampled_from([{"name": "a", "new": "origin"}, {"name": "b", "count": "calls", "at_least": 1}]),
        max_size=2,
        unique_by=lambda one: one["name"],
    ),
    "plugins": st.lists(st.sampled_from(["topics", "my-names"]), max_size=2, unique=True),
    "audit.sinks": st.lists(st.sampled_from(["siem", "lake"]), max_size=2, unique=True),
    "providers": st.lists(st.sampled_from(["acme", "other"]), max_size=2, unique=True),
    "plugin_settings": st.dictionaries(
        st.sampled_from(["topics", "names"]), st.just({"allow": ["a", "b"], "most": 3}), max_size=2
    ),
    "rules": st.lists(
        st.sampled_from(
            [{"name": "a", "words": ["ab", "c d"]}, {"name": "b", "pattern": "b[0-9]+", "action": "block"}]
        ),
        max_size=2,
        unique_by=lambda one: one["name"],
    ),
    "audit.otel": st.sampled_from(["off", "spans", "logs", "both"]),
    "audit.webhook": st.sampled_from(["http://127.0.0.1:9/x", "http://localhost:80/"]),
    "audit.checkpoint_to": st.lists(st.sampled_from(["/far/away", "syslog", "logging"]), max_size=3),
    "audit.directory": st.from_regex(r"/[a-z/ ]{0,20}[a-z]", fullmatch=True),
    "output.allowed_origins": st.lists(st.sampled_from(["https://a.example", "https://b.example/img/"]), max_size=2),
    "egress.origins": st.lists(st.sampled_from(["https://a.example", "http://[::1]:80", "b.example:8443"]), max_size=3),
    "egress.private": st.lists(st.sampled_from(["https://a.internal", "http://10.0.0.1:80"]), max_size=2),
    "egress.proxy": st.sampled_from(["http://proxy.example:3128", "https://[::1]:8080"]),
    "egress.ca_bundle": st.from_regex(r"/[a-z/ ]{0,20}[a-z]", fullmatch=True),
    "ask.model": st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True),
    "ask.profile": st.sampled_from(["ollama", "groq"]),
    "keys.store": st.sampled_from(["auto", "keyring", "file"]),
    "keys.rotate_days": st.integers(1, 3650),
    "keys.name": st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True),
    "limits.json_depth": st.integers(1, 500),
}


def strategy(dotted: str) -> st.SearchStrategy[object]:
    if dotted in KINDS:
        return KINDS[dotted]
    return st.booleans() if SETTINGS[dotted] is bool else st.integers(1, 2**40)


ASSIGNMENTS = st.sampled_from(sorted(set(SETTINGS) - {"budget.tier"})).flatmap(
    lambda d: st.tuples(st.just(d), strategy(d))
)
SEVERAL = st.lists(ASSIGNMENTS, max_size=6, unique_by=lambda pair: pair[0])


def toml(value: object) -> str:
    """Write a value as TOML; a basic string is a JSON string here."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(part) for part in value) + "]"
    return json.dumps(value)


def as_file(pairs: list[tuple[str, object]]) -> str:
    return "".join(f"{dotted} = {toml(value)}\n" for dotted, value in pairs)


def as_variables(pairs: list[tuple[str, object]]) -> dict[str, str]:
    return {
        PREFIX + dotted.upper().replace(".", "_"): value if isinstance(value, str) else toml(value)
        for dotted, value in pairs
    }


@pytest.mark.filterwarnings("ignore")
@given(SEVERAL)
def test_any_assignment_means_the_same_in_each_place(pairs: list[tuple[str, object]]) -> None:
    """File, variable and argument give one policy, and each setting's source is the place where it was given."""
    file, variables, arguments = load(as_file(pairs)), load(**as_variables(pairs)), load(overrides=dict(pairs))
    assert file.policy == variables.policy == arguments.policy
    assert file.policy.digest() == variables.policy.digest()
    for line, (dotted, _) in enumerate(pairs, start=1):
        assert file.sources[dotted] == f"file {file.file} line {line}"
        assert variables.sources[dotted] == f"variable {PREFIX}{dotted.upper().replace('.', '_')}"
        assert arguments.sources[dotted] == "argument"
    untouched = set(SETTINGS) - {dotted for dotted, _ in pairs}
    assert {file.sources[dotted] for dotted in untouched} <= {"default"}


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SAFELLM_EGRESS_ORIGINS", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
        ("SAFELLM_REDACTION_RESTORE_TOOL_ARGUMENTS", "mail.to", ("mail.to",)),
        ("SAFELLM_REDACTION_ENABLED", "no", False),
        ("SAFELLM_REDACTION_ENABLED", "TRUE", True),
    ],
)
def test_variables_may_be_written_plainly(variable: str, text: str, expected: object) -> None:
    """Lists with commas, booleans as people write them."""
    assert get(load(**{variable: text}).policy, VARIABLES[variable]) == expected


def test_variable_can_not_smuggle_other_settings_in() -> None:
    """A line end inside a TOML value does not begin another key."""
    assert "one TOML value" in problems(SAFELLM_EGRESS_ORIGINS='[]\nmode = "observe"')


# -- locks ----------------------------------------------------------------------------------------------------------


def test_every_setting_has_an_order_or_says_that_it_has_none() -> None:
    """A new setting must be decided on here."""
    assert set(ORDERS) | UNORDERED == set(SETTINGS)
    assert not set(ORDERS) & UNORDERED


# setting, loose value, strict value; the whole table of what a lock means
TABLE = [
    ("mode", "observe", "guard"),
    ("mode", "guard", "strict"),
    ("unknown_endpoints", "walk", "deny"),
    ("retention", "provider", "none"),
    ("redaction.enabled", False, True),
    ("redaction.default", "allow", "mask"),
    ("redaction.default", "mask", "remove"),
    ("redaction.default", "remove", "block"),
    ("redaction.types", {"EMAIL": "mask"}, {"EMAIL": "block"}),
    ("redaction.types", {"EMAIL": "allow"}, {"EMAIL": "mask", "PHONE": "block"}),
    ("redaction.restore", True, False),
    ("redaction.remember", "encrypted", "process"),
    ("redaction.remember_days", 30, 7),
    ("redaction.paths", {"a.b": "NAME"}, {"a.b": "OTHER", "c": "NAME"}),
    ("redaction.restore_tool_arguments", ["a.b", "c.d"], ["c.d"]),
    ("redaction.restore_tool_arguments", ["a.b"], []),
    ("input.hidden_characters", "pass", "remove"),
    ("untrusted.score", "off", "untrusted"),
    ("untrusted.score", "untrusted", "all"),
    ("untrusted.block_at", "0.9", "0.5"),
    ("untrusted.delimiters", "pass", "defuse"),
    ("untrusted.spotlight", "off", "delimit"),
    ("untrusted.spotlight", "delimit", "encode"),
    ("output.terminal_controls", "pass", "escape"),
    ("output.hidden_characters", "pass", "remove"),
    ("content.binary", "pass", "deny"),
    ("content.documents", "pass", "secrets"),
    ("content.documents", "secrets", "refuse"),
    ("redaction.countries", ["US"], ["US", "DE"]),
    ("redaction.countries", ["US"], []),
    ("tools", {}, {"a": {"action": "ask"}, "*": {"action": "deny"}}),
    ("tools", {"a": {"per_run": 3}}, {"a": {"per_run": 2, "effect": True}}),
    ("tools", {"*": {"action": "ask"}}, {"*": {"action": "ask"}, "a": {"action": "deny"}}),
    ("tools", {"a": {"trust": "own"}}, {"a": {"pin": "sha256:" + "0" * 64}}),
    ("tool_calls.undeclared", "allow", "deny"),
    ("tool_calls.arguments", "none", "listed"),
    ("tool_calls.arguments", "listed", "all"),
    ("tool_calls.look_alikes", "allow", "deny"),
    ("tool_calls.per_answer", 2, 1),
    ("tool_calls.per_run", 2, 1),
    ("tool_calls.approval_seconds", 2, 1),
    ("budget.limits", [], [{"usd": 5}]),
    ("budget.limits", [{"usd": 5}], [{"usd": 4}, {"tokens": 3}]),
    ("budget.limits", [{"tokens": 5, "window": "month"}], [{"tokens": 5, "window": "month"}, {"usd": 1}]),
    ("budget.limits", [{"usd": 5, "action": "warn"}], [{"usd": 5}]),
    ("budget.limits", [{"usd": 5, "per": ["team"]}], [{"usd": 4, "per": ["team"]}]),
    (
        "budget.limits",
        [{"requests": 5, "window": "hour", "rate": True}],
        [{"requests": 5, "window": "hour", "rate": True, "burst": 2}],
    ),
    ("budget.tiers", {"a": {}}, {"a": {"limits": [{"usd": 5}]}}),
    ("budget.max_output_tokens", 2, 1),
    ("budget.allow_volatile", True, False),
    ("budget.on_outage", "fallback", "refuse"),
    ("budget.fallback_share", 0.5, 0.25),
    ("budget.unknown_price", "dearest", "refuse"),
    ("budget.run.calls", 5, 4),
    ("budget.run.usd", 5, 4),
    ("budget.run.tokens", 5, 4),
    ("budget.run.depth", 5, 4),
    ("budget.run.repeats", 5, 4),
    ("budget.clamp_output", False, True),
    ("audit.mode", "off", "best_effort"),
    ("audit.mode", "best_effort", "required"),
    ("audit.sync", "none", "group"),
    ("audit.sync", "group", "each"),
    ("audit.users", "plain", "pseudonym"),
    ("audit.users", "pseudonym", "off"),
    ("audit.checkpoint_records", 2, 1),
    ("audit.checkpoint_seconds", 2, 1),
    ("audit.checkpoint_to", [], ["/far/away", "syslog"]),
    ("audit.checkpoint_to", ["syslog"], ["logging", "syslog"]),
    ("audit.content", "full", "redacted"),
    ("audit.content", "redacted", "off"),
    ("audit.content_bytes", 2, 1),
    ("plugins", ["topics"], ["topics", "names"]),
    ("audit.sinks", ["siem"], ["siem", "lake"]),
    ("providers", ["acme", "other"], ["acme"]),
    ("rules", [], [{"name": "a", "words": ["ab"]}]),
    ("rules", [{"name": "a", "words": ["ab"]}], [{"name": "a", "words": ["ab"]}, {"name": "b", "pattern": "b"}]),
    ("alerts", [], [{"name": "a", "new": "origin"}]),
    ("output.secrets", "pass", "registered"),
    ("output.secrets", "registered", "all"),
    ("output.personal", "pass", "registered"),
    ("output.personal", "registered", "others"),
    ("output.canary", "off", "mask"),
    ("output.canary", "mask", "refuse"),
    ("output.links", "pass", "defang"),
    ("output.links", "defang", "show"),
    ("output.allowed_origins", ["https://a.example", "https://b.example"], ["https://b.example"]),
    ("egress.origins", ["https://a.example", "https://b.example"], ["https://b.example"]),
    ("egress.allow_http", True, False),
    ("egress.private", ["https://a.example", "https://b.example"], ["https://b.example"]),
    ("keys.clear_environment", False, True),
    ("keys.environment", True, False),
    ("keys.vault", False, True),
    ("keys.files", True, False),
    ("keys.rotate_days", 90, 30),
    ("limits.request_bytes", 2, 1),
    ("limits.response_bytes", 2, 1),
    ("limits.response_seconds", 2, 1),
    ("limits.event_bytes", 2, 1),
    ("limits.json_depth", 2, 1),
]


def test_table_covers_every_order() -> None:
    """No order is untested."""
    assert {dotted for dotted, _, _ in TABLE} | {"budget.tier"} == set(ORDERS)  # it needs `budget.tiers` beside it


@pytest.mark.parametrize(("dotted", "loose", "strict"), TABLE)
def test_locked_setting_can_be_tightened_and_not_loosened(dotted: str, loose: object, strict: object) -> None:
    """Both ways, by variable and by argument; the error names who tried and what holds."""
    lock = f"locked = [{json.dumps(dotted)}]\n"
    for change in ({}, {"overrides": {dotted: strict}}):
        variables = {} if change else as_variables([(dotted, strict)])
        load(lock + as_file([(dotted, loose)]), **change, **variables)
    if dotted == "redaction.types":  # types are merged: only a listed type can be loosened
        strict = {"EMAIL": strict["EMAIL"]}  # type: ignore[index]
    variables = as_variables([(dotted, loose)])
    message = problems(lock + as_file([(dotted, strict)]), **variables)
    assert next(iter(variables)) in message
    assert f"{dotted} is locked" in message
    assert f"argument: {dotted} is locked" in problems(lock + as_file([(dotted, strict)]), overrides={dotted: loose})


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("audit.directory", "/x"),
        ("audit.console", True),
        ("audit.console_format", "json"),
        ("audit.otel", "spans"),
        ("audit.webhook", "http://127.0.0.1:1/events"),
        ("keys.name", "k"),
        ("keys.store", "file"),
        ("budget.stream_usage", False),
    ],
)
def test_locked_setting_without_an_order_can_not_be_changed(dotted: str, value: object) -> None:
    """Neither way; setting it to what it is does no harm."""
    assert f"{dotted} is locked" in problems(f'locked = ["{dotted}"]\n', overrides={dotted: value})
    same = get(Policy(), dotted)
    if same is not None:
        load(f'locked = ["{dotted}"]\n', overrides={dotted: same})


def test_section_lock_holds_all_of_it_and_true_holds_everything() -> None:
    """`audit` means each setting of audit; defaults are held as well as written values."""
    assert "audit.sync is locked" in problems('locked = ["audit"]\n', SAFELLM_AUDIT_SYNC="none")
    message = problems(
        "locked = true\n", SAFELLM_AUDIT_SYNC="none", SAFELLM_REDACTION_ENABLED="0", SAFELLM_MODE="strict"
    )
    assert "audit.sync is locked" in message
    assert "redaction.enabled is locked" in message
    assert "mode is locked" not in message
    assert load("locked = false\n", SAFELLM_AUDIT_SYNC="none").policy.audit.sync == "none"


def test_any_lock_holds_the_mode() -> None:
    """In observe mode no guard acts, so it would void each other lock."""
    assert "mode is locked" in problems('locked = ["redaction.enabled"]\n', SAFELLM_MODE="observe")
    assert load('mode = "strict"\n', SAFELLM_MODE="observe").policy.mode is Mode.OBSERVE


def test_unlisted_type_can_not_be_let_through_a_lock() -> None:
    """A type that falls to the default may not get less than the default."""
    assert "redaction.types is locked" in problems('locked = ["redaction"]\n', SAFELLM_REDACTION_TYPES="EMAIL=allow")


def test_budget_shorthand_can_not_raise_a_locked_limit() -> None:
    """Lower or more limits are fine; a higher one is an error."""
    text = "locked = ['budget.limits']\n[[budget.limits]]\nusd = 5\n"
    assert "budget.limits is locked" in problems(text, SAFELLM_BUDGET_USD="6/day")
    assert load(text, SAFELLM_BUDGET_USD="4/day").policy.budget.limits == (Budget(usd=Decimal(4)),)
    assert len(load(text, SAFELLM_BUDGET_USD="6/hour").policy.budget.limits) == 2


LOCKS = st.lists(
    st.sampled_from([*SETTINGS, "redaction", "audit", "budget", "limits", "egress"]), min_size=1, max_size=4
)


@pytest.mark.filterwarnings("ignore")
@given(LOCKS, SEVERAL, SEVERAL, SEVERAL)
def test_no_assignment_loosens_a_locked_setting(
    locks: list[str],
    file: list[tuple[str, object]],
    variables: list[tuple[str, object]],
    arguments: list[tuple[str, object]],
) -> None:
    """Whatever variables and arguments say: an error, or each locked setting is at least as strict as the file's."""
    text = as_file(file)
    start = load(text).policy
    try:
        final = load(
            f"locked = {json.dumps(locks)}\n{text}", overrides=dict(arguments), **as_variables(variables)
        ).policy
    except ConfigurationError as error:
        assert "is locked in" in str(error)
        return
    for dotted in SETTINGS:
        if any(dotted == lock or dotted.startswith(f"{lock}.") for lock in locks) or dotted == "mode":
            assert is_as_strict(dotted, start, final)
            assert dotted not in UNORDERED or get(start, dotted) == get(final, dotted)


# -- problems -------------------------------------------------------------------------------------------------------

BROKEN = """\
# a comment
mode = "gard"
locked = ["redaction.enabled", "redation"]
max_output_tokens = 5

[redaction]
enabld = true
types = {email = "mask"}
restore_tool_arguments = [
  "fine.name",
  "nodot",
]
[egress]
origins = ["https://user@a.example"]
[[budget.limits]]
usd = 5
[[budget.limits]]
tokns = 5
[budget]
clamp_output = "maybe"
[audit]
directory = "relative"
"""


def test_all_problems_are_shown_at_once_with_line_and_suggestion(tmp_path: Path) -> None:
    """One run of the check is enough to mend a file."""
    file = write(tmp_path, BROKEN)
    found = check_file(file)
    expected = [
        (2, "mode", "'observe', 'guard' or 'strict'"),
        (3, "locked", "did you mean 'redaction'?"),
        (4, "max_output_tokens", "did you mean 'budget.max_output_tokens'?"),
        (6, "redaction", "EMAIL"),
        (7, "redaction.enabld", "did you mean 'redaction.enabled'?"),
        (14, "egress.origins[0]", "no user name"),
        (18, "budget.limits[1].tokns", "did you mean 'budget.limits[1].tokens'?"),
        (20, "budget.clamp_output", "boolean"),
        (22, "audit.directory", "absolute"),
    ]
    for line, key, words in expected:
        assert any(p.startswith(f"{file}:{line}: {key}: ") and words in p for p in found), (line, key, found)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(environ={**NOWHERE, "SAFELLM_MODEE": "x"}, overrides={"redaction_enable": True}, path=file)
    for problem in found:
        assert problem in str(caught.value)
    assert "SAFELLM_MODEE: there is no such setting; did you mean 'SAFELLM_MODE'?" in str(caught.value)
    assert "redaction_enable: there is no such setting; did you mean 'redaction_enabled'?" in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "overrides"),
    [
        ({"SAFELLM_REDACT": "EMIAL"}, {}),
        ({"SAFELLM_REDACT": "EMIAL=block"}, {}),
        ({"SAFELLM_REDACTION_TYPES": '{EMIAL = "block"}'}, {}),
        ({}, {"redaction.types": {"EMAILS": "block"}}),
    ],
)
def test_p6_a_misspelt_type_is_a_problem(environ: dict[str, str], overrides: dict[str, object]) -> None:
    """An action for a type that nothing finds would let everything of the meant type go."""
    with pytest.raises(ConfigurationError, match=r"EMI?A[ILS]+: nothing finds this type; did you mean 'EMAIL'\?"):
        load_policy(environ={**NOWHERE, **environ}, overrides=overrides)


def test_types_of_ones_own_are_no_problem(tmp_path: Path) -> None:
    """Values that a program registers, plug-ins and rules have types that no detector has; a rule's may look like one."""
    file = write(
        tmp_path,
        """
[[rules]]
name = "phones"
type = "PHONES"
words = ["red telephone"]
[redaction.types]
CUSTOMER = "block"
CUSTOMER_EMAIL = "remove"
PASSPORT_NO = "block"
PHONES = "block"
PERSON = "mask"
""",
    )
    assert check_file(file) == []


@pytest.mark.parametrize(
    ("text", "line"), [("mode = 'guard'\n[audit\n", 2), ("a = 1\na = 2\n", 2), ("x = [\n1,\n", 3), ('\n\nq = """\n', 4)]
)
def test_toml_error_has_its_line(tmp_path: Path, text: str, line: int) -> None:
    """What is not TOML is refused with the line, not ignored."""
    file = write(tmp_path, text)
    assert [problem.startswith(f"{file}:{line}: not TOML") for problem in check_file(file)] == [True]


def test_problems_do_not_show_values() -> None:
    """A key that was put into the wrong line does not appear in the error."""
    secret = "sk-" + "proj-" + "A1b2" * 10
    for dotted in SETTINGS:
        try:
            load(f"{dotted} = {json.dumps(secret)}\n", SAFELLM_MODE=secret)
        except ConfigurationError as error:
            assert secret not in str(error)
        else:  # pragma: no cover - the mode is always wrong
            pytest.fail("not noticed")


@pytest.mark.parametrize("content", [b"mode = '\xff'", b"\x00", b"\xff\xfem\x00"])
def test_file_that_is_not_text_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Never skipped."""
    file = tmp_path / "policy.toml"
    file.write_bytes(content)
    assert len(check_file(file)) == 1


def test_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    """As Windows editors write files."""
    file = tmp_path / "policy.toml"
    file.write_bytes(b'\xef\xbb\xbfmode = "strict"\r\n\r\n[audit]\r\nsync = "none"\r\n')
    file.chmod(0o600)
    loaded = load_policy(environ=NOWHERE, path=file)
    assert loaded.policy.is_strict
    assert loaded.sources["audit.sync"] == f"file {file} line 4"


def test_file_that_is_missing_or_not_a_file_is_an_error(tmp_path: Path) -> None:
    """A named file must be there; a folder, a pipe and a dangling link are no policy."""
    fifo, link = tmp_path / "pipe", tmp_path / "policy.toml"
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_policy(environ={**NOWHERE, "SAFELLM_POLICY": str(tmp_path / "none")})
    assert check_file(tmp_path)
    if os.name == "posix":
        os.mkfifo(fifo)
        assert "regular file" in check_file(fifo)[0]
        link.symlink_to(tmp_path / "none")
        with pytest.raises(ConfigurationError, match="can't be read"):
            load_policy(environ={"SAFELLM_HOME": str(tmp_path)})


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_file_that_others_may_change_is_refused_in_strict_mode(tmp_path: Path) -> None:
    """A warning in the other modes; a group of one's own may write."""
    file = write(tmp_path, "[limits]\njson_depth = 5\n")
    file.chmod(0o666)
    with pytest.warns(UserWarning, match="others may change"):
        loaded = load_policy(environ=NOWHERE, path=file)
    assert "chmod go-w" in loaded.warnings[0]
    assert check_file(file) == []
    with pytest.raises(ConfigurationError, match="others may change"):
        load_policy(environ={**NOWHERE, "SAFELLM_MODE": "strict"}, path=file)
    file.chmod(0o664)
    assert load_policy(environ=NOWHERE, path=file).warnings == ()


@pytest.mark.parametrize("origin", ["[", "https://]", "https://a b", "ftp://a.example", "https://a.example:x"])
def test_malformed_origin_is_a_problem_with_its_place(origin: str) -> None:
    """However it is malformed, the person sees which variable or line it is."""
    assert "variable SAFELLM_EGRESS_ORIGINS: egress.origins[0]: " in problems(SAFELLM_EGRESS_ORIGINS=toml([origin]))


def test_two_limits_of_one_account_are_an_error(tmp_path: Path) -> None:
    """It would not be clear which one holds."""
    file = write(tmp_path, "[[budget.limits]]\nusd = 5\n[[budget.limits]]\nusd = 6\n")
    assert "same name, window and unit" in check_file(file)[0]


# -- lines ----------------------------------------------------------------------------------------------------------


def test_lines_of_keys_are_exact_in_every_form_of_toml() -> None:
    """Multi-line values, dotted and quoted keys, inline tables, arrays of tables, things that only look like keys."""
    text = '''# a = 1
a = """
b = 2
[c]
"""
"d.e".f = {g = 1, h = [1,
 2]}

[[t]] # first
x = 1
[t.sub]
y = 2
[[t]]
x = [ # b = 3
  "[z]",
]
[[t.u]]
w = 1
'''
    lines = key_lines(text)
    assert lines[("a",)] == 2
    assert lines[("d.e", "f", "h", 1)] == 6
    assert lines[("t", 0, "x")] == 10
    assert lines[("t", 0, "sub", "y")] == 12
    assert lines[("t", 1, "x", 0)] == 14
    assert lines[("t", 1, "u", 0, "w")] == 18
    assert {path[0] for path in lines} == {"a", "d.e", "t"}
