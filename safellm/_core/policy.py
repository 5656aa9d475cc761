"""The policy: one immutable value that says what every guard does.

Where its parts come from (defaults, file, variables, arguments) is decided in `safellm.stores.settings`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from safellm._core import alerts as watched
from safellm._core.effects import Limit, OnLimit, Unit, Window
from safellm._core.jsonpath import parse_path
from safellm._core.limits import KNOWN, Rule, base_account
from safellm._core.neutral.addresses import Judge, judge_of, parse_allowed
from safellm._core.placeholder import TYPE_NAME
from safellm._core.textrules import DETECTED, TextRule, check_together
from safellm._core.tools.rules import ToolCalls, ToolRule

KiB = 1024
MiB = 1024 * KiB
_PLUGIN = r"[a-z][a-z0-9_-]{0,63}"
PluginName = Annotated[str, StringConstraints(pattern=rf"^{_PLUGIN}$")]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Mode(StrEnum):
    """How strict the guards are."""

    OBSERVE = "observe"
    GUARD = "guard"
    STRICT = "strict"


class Action(StrEnum):
    """What happens to a finding.

    It is hidden reversibly (by a placeholder, or by a fake of the same form), taken out for good, the call is refused, or it is
    only counted.
    """

    MASK = "mask"
    SURROGATE = "surrogate"
    REMOVE = "remove"
    BLOCK = "block"
    ALLOW = "allow"


# From the loosest to the strictest: a surrogate may be guessed, a placeholder not.
STRICTNESS = (Action.ALLOW, Action.SURROGATE, Action.MASK, Action.REMOVE, Action.BLOCK)


def plugin_in(setting: str) -> str | None:
    """Return the plug-in that a setting such as `plugin:NAME` names, or None."""
    name = setting.removeprefix("plugin:")
    return name if name != setting and re.fullmatch(_PLUGIN, name) else None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Redaction(_Part):
    """What is hidden from the provider, and where it may come back."""

    enabled: bool = Field(True, description="Search requests for secrets and personal data.")
    default: Action = Field(Action.MASK, description="What happens to a finding whose type is not listed in `types`.")
    types: dict[str, Action] = Field(default_factory=dict, description="Action per type, for example EMAIL = 'allow'.")
    countries: tuple[Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{2}$")], ...] = Field(
        (),
        description="Whose national numbers are found by their form alone (ISO 3166: US, DE). Those of other countries are found "
        "where a text says what they are. Default: every country's.",
    )
    paths: dict[str, str] = Field(
        default_factory=dict,
        description="Places in a request whose whole value is hidden, and as what: "
        "'messages[*].metadata.customer' = 'CUSTOMER_ID'; '*' is any name, '**' any depth.",
    )
    restore: bool = Field(True, description="Put the real values back into answers.")
    restore_tool_arguments: tuple[str, ...] = Field(
        (),
        description="Tool parameters that may get real values, as 'tool.parameter'; '*' stands for any name. "
        "All others keep the placeholder: an injected order could send the value away.",
    )
    remember: Literal["process", "encrypted"] = Field(
        "process",
        description="How long hidden values of named conversations are kept: as long as the process, or in encrypted files "
        "for `remember_days`, so that placeholders come back after a restart.",
    )
    remember_days: int = Field(30, gt=0, le=3650, description="Days after its last change that a file is kept.")


class Input(_Part):
    """What is cleaned out of text that goes to the model."""

    hidden_characters: Literal["remove", "pass"] = Field(
        "remove", description="Invisible characters in text that the program did not write itself."
    )


class Untrusted(_Part):
    """Text that neither the program nor its user wrote: results of tools, documents, files, what `safellm.untrusted` marked."""

    score: Literal["untrusted", "all", "off"] = Field(
        "untrusted",
        description="Which text is scored for orders to the model (prompt injection); the score is recorded. all: the user's too.",
    )
    block_at: Annotated[Decimal, Field(gt=0, le=1)] | None = Field(
        None, description="Score from which on a call is refused; 0.9 is reached by few honest texts. Default: never."
    )
    delimiters: Literal["defuse", "pass"] = Field(
        "defuse", description="Special tokens of chat formats in such text, such as <|im_start|>, are made plain text."
    )
    spotlight: Literal["off", "delimit", "mark", "encode"] = Field(
        "off",
        description="How the model is shown where such text begins and ends. delimit: fences that the text can't forge; mark: its "
        "words are joined by a sign as well; encode: it is base64, for models that read it.",
    )


class Output(_Part):
    """What is made harmless in text that comes from the model."""

    terminal_controls: Literal["escape", "pass"] = Field("escape", description="ESC, BEL, backspace and the like.")
    hidden_characters: Literal["remove", "pass"] = Field("remove", description="Zero-width, bidi and tag characters.")
    links: Literal["defang", "show", "pass"] = Field(
        "defang",
        description="Markdown and HTML of an answer that would fetch or run something when it is rendered become plain text, and "
        "links that pack data into their address or pretend to lead elsewhere. show: every link outside `allowed_origins` "
        "shows its address, and so do pictures beside the page; strict mode always does.",
    )
    allowed_origins: tuple[str, ...] = Field(
        ("https://img.shields.io/badge/",),
        description="Where pictures may be loaded from and links may lead, as https://host[:port]; with a path, only what lies "
        "below it, without a query. The default is the badge service that draws just what its address says.",
    )

    secrets: Literal["registered", "all", "pass"] = Field(
        "registered",
        description="Secrets that an answer holds and this conversation doesn't are taken out. registered: those of "
        "safellm.register_secret; all: also what looks like one, which a model may have made up; strict mode always does.",
    )
    personal: Literal["registered", "others", "any", "pass"] = Field(
        "registered",
        description="Values that an answer holds and this conversation doesn't are taken out. registered: those of "
        "safellm.register_values and safellm.sensitive; others: also personal data that other conversations of this process hid, "
        "unless three of them have it; strict mode always does; any: also whatever the detectors find; streams then come line by "
        "line.",
    )
    canary: Literal["off", "mask", "refuse"] = Field(
        "off",
        description="Put a secret mark into the system text of each conversation; where an answer holds it, take it out and "
        "record it, or refuse the answer. How much of the system text an answer tells is recorded, too.",
    )

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            parse_allowed(one)
        return value


class Content(_Part):
    """Bytes that are not text."""

    binary: Literal["pass", "deny"] = Field("pass", description="Images, audio and files that can't be searched.")
    documents: Literal["pass", "secrets", "refuse"] = Field(
        "secrets",
        description="PDF (with the extra `files`) and office files, in which nothing can be hidden. secrets: searched; one with a "
        "secret or a type to be blocked is refused, other findings are counted. refuse: one with anything that would be hidden, or "
        "that can't be searched, is refused; strict mode always does. pass: not opened.",
    )


class Budget(_Part):
    """One named limit; exactly one of tokens, input_tokens, output_tokens, usd, requests, concurrency."""

    name: str = Field("default", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The account that is charged.")
    window: Window = Field(Window.DAY, description="call, minute, hour, day, week (from Monday), month or total; UTC.")
    tokens: Annotated[int, Field(gt=0)] | None = Field(None, description="Input plus output tokens.")
    input_tokens: Annotated[int, Field(gt=0)] | None = Field(None, description="Input tokens.")
    output_tokens: Annotated[int, Field(gt=0)] | None = Field(None, description="Output tokens.")
    usd: Annotated[Decimal, Field(gt=0)] | None = Field(None, description="US dollars.")
    requests: Annotated[int, Field(gt=0)] | None = Field(None, description="Attempts on the wire.")
    concurrency: Annotated[int, Field(gt=0)] | None = Field(None, description="Calls under way; it has no window.")
    per: tuple[LabelName, ...] = Field(
        (), description="Labels each of whose values has the limit for itself: ['model', 'team']."
    )
    where: dict[LabelName, str] = Field(
        default_factory=dict, description="Labels and what they must match for the limit to count: {model = 'gpt-4o*'}."
    )
    action: OnLimit = Field(
        OnLimit.BLOCK,
        description="block: refused; clamp: the output ceiling is lowered to what is left; warn: told of, and counted; "
        "wait: of a rate, up to wait_s.",
    )
    warn_at: Annotated[Decimal, Field(gt=0, le=1)] | None = Field(
        None, description="Share of the limit from which on a person is told: 0.8."
    )
    rate: bool = Field(False, description="Spread evenly over the window, instead of all at its beginning.")
    burst: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Of a rate: how much may come at once; default: the limit itself."
    )
    wait_s: Annotated[int, Field(gt=0, le=600)] = Field(
        30, description="Of a rate with action 'wait': the longest wait, in seconds. Keep it below the SDK's timeout."
    )

    def limits(self) -> tuple[Limit, ...]:
        """Return one `Limit` per unit that is set; money in micro-dollars."""
        return tuple(rule.limit for rule in self.rules())

    def rules(self) -> tuple[Rule, ...]:
        """Return one `Rule` per unit that is set; money in micro-dollars."""
        units = (
            (Unit.TOKENS, self.tokens),
            (Unit.INPUT_TOKENS, self.input_tokens),
            (Unit.OUTPUT_TOKENS, self.output_tokens),
            (Unit.MICRO_USD, None if self.usd is None else int(self.usd * 1_000_000)),
            (Unit.REQUESTS, self.requests),
            (Unit.CONCURRENCY, self.concurrency),
        )
        return tuple(self._rule(unit, value) for unit, value in units if value is not None)

    def _rule(self, unit: Unit, value: int) -> Rule:
        burst = None
        if self.rate:
            burst = value if self.burst is None else self.burst * (1_000_000 if unit is Unit.MICRO_USD else 1)
        limit = Limit(
            name=base_account(self.name, self.where),
            unit=unit,
            limit=value,
            window=Window.TOTAL if unit is Unit.CONCURRENCY else self.window,
            action=self.action,
            warn_at=_share(
                value, self.warn_at if self.warn_at is not None or self.action is not OnLimit.WARN else Decimal(1)
            ),
            burst=burst,
            wait_s=self.wait_s if self.action is OnLimit.WAIT else 0,
        )
        return Rule(limit=limit, per=self.per, where=tuple(sorted(self.where.items())))


def _share(value: int, share: Decimal | None) -> int | None:
    return None if share is None else max(1, int(value * share))


class Tier(_Part):
    """A named set of limits."""

    limits: tuple[Budget, ...] = Field((), description="As budget.limits.")

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of all its limits, in order."""
        return tuple(rule for budget in self.limits for rule in budget.rules())


class RunLimits(_Part):
    """What one `with safellm.run(...)` may do; the program may ask for less."""

    calls: Annotated[int, Field(gt=0)] | None = Field(None, description="Calls in one run.")
    usd: Annotated[Decimal, Field(gt=0)] | None = Field(None, description="US dollars in one run.")
    tokens: Annotated[int, Field(gt=0)] | None = Field(None, description="Tokens in one run.")
    depth: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Runs inside one another, the first one counted."
    )
    repeats: Annotated[int, Field(gt=0)] | None = Field(
        None, description="How often the very same request may be made in one run."
    )


class Budgets(_Part):
    """What may be spent."""

    limits: tuple[Budget, ...] = Field((), description="No limit: usage is still counted.")
    tiers: dict[str, Tier] = Field(default_factory=dict, description="Named sets of limits, of which `tier` names one.")
    tier: str | None = Field(None, description="The set of limits that counts besides `limits`.")
    labels: dict[LabelName, str] = Field(
        default_factory=dict, description="Labels of every call, such as project = 'search'; a program may change them."
    )
    run: RunLimits = RunLimits()
    max_output_tokens: Annotated[int, Field(gt=0)] = Field(
        4096, description="Output ceiling put into requests that have none, when a token or money limit is set."
    )
    clamp_output: bool = Field(False, description="Also lower a request's own ceiling to max_output_tokens.")
    stream_usage: bool = Field(True, description="Ask for usage in streamed chats; hidden from programs that did not.")
    ledger: SecretStr | None = Field(
        None,
        description="Address of a ledger for many machines: redis://, rediss://, postgresql://, or plugin:NAME. Default: a file.",
    )
    allow_volatile: bool = Field(False, description="Use a server that may forget: Redis without append-only file.")
    webhook: str | None = Field(
        None,
        description="Send budget warnings as JSON to this URL, in the background. Its origin must be in egress.origins, or "
        "loopback.",
    )
    on_outage: Literal["refuse", "fallback"] = Field(
        "refuse", description="When a shared ledger can't be reached: refuse, or let each process spend fallback_share."
    )
    fallback_share: Annotated[Decimal, Field(gt=0, le=1)] = Field(
        Decimal("0.05"), description="Share of each limit that one process may spend in each window of an outage."
    )
    unknown_price: Literal["refuse", "dearest"] = Field(
        "refuse",
        description="A model without a known price under a money limit: refuse, or its provider's dearest price.",
    )

    @field_validator("labels")
    @classmethod
    def _labels_are_free(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in KNOWN:
                msg = f"{name!r} is known of every call and can't be set"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _tier_is_there(self) -> Budgets:
        if self.tier is not None and self.tier not in self.tiers:
            msg = "budget.tier names none of budget.tiers"
            raise ValueError(msg)
        return self

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of all limits that count, in order."""
        chosen = () if self.tier is None else self.tiers[self.tier].rules()
        return (*(rule for budget in self.limits for rule in budget.rules()), *chosen)


class Price(_Part):
    """What a model costs, in US dollars per million tokens."""

    input: Annotated[Decimal, Field(ge=0)] = Field(description="Input tokens.")
    output: Annotated[Decimal, Field(ge=0)] = Field(description="Output tokens.")
    cached: Annotated[Decimal, Field(ge=0)] | None = Field(None, description="Input tokens from the provider's cache.")
    cache_write: Annotated[Decimal, Field(ge=0)] | None = Field(
        None, description="Input tokens that the provider writes to its cache; default: as input."
    )
    cache_write_1h: Annotated[Decimal, Field(ge=0)] | None = Field(
        None, description="Those that it keeps for an hour; default: as cache_write."
    )
    request: Annotated[Decimal, Field(ge=0)] = Field(Decimal(0), description="US dollars for each call.")


class Audit(_Part):
    """The durable trail of calls."""

    mode: Literal["required", "best_effort", "off"] = Field(
        "required", description="required: a call that can't be recorded is refused."
    )
    directory: str | None = Field(None, description="Folder of the trail; default: the user's state folder.")
    users: Literal["pseudonym", "plain", "off"] = Field(
        "pseudonym",
        description="How records name the user of a call: by a keyed pseudonym, which only this installation can make, by the "
        "name itself, or not.",
    )
    sync: Literal["each", "group", "none"] = Field(
        "group",
        description="When the disk has a record. group: it is in the file, and outlives a crash or kill of the program, before "
        "the call goes on; the disk follows within about 0.1 s, so a loss of power can take the records of that time. "
        "each: a call waits until the disk has its intent; strict mode always does. none: the system decides, some 30 s.",
    )
    console: bool = Field(False, description="Show events on standard error as well.")
    console_format: Literal["text", "json"] = Field(
        "text", description="How: readable lines, or one JSON object a line."
    )
    otel: Literal["off", "spans", "logs", "both"] = Field(
        "off",
        description="Hand calls to OpenTelemetry as spans, events as logs; to the program's own providers, so that a call "
        "stands inside its trace. Needs safellm[otel].",
    )
    webhook: str | None = Field(
        None,
        description="Send events as JSON to this URL, in the background. Its origin must be in egress.origins, or loopback.",
    )
    sinks: tuple[PluginName, ...] = Field(
        (),
        description="Sinks of installed packages that get every event, by name: see own-guards.md. Where mode is required, a call "
        "that one doesn't take is refused.",
    )
    content: Literal["off", "redacted", "full"] = Field(
        "off",
        description="Keep requests and answers beside the trail, encrypted to `content_key`. redacted: as the provider saw "
        "them, with placeholders; full: as the program did.",
    )
    content_key: str | None = Field(
        None,
        description="Public key that content is encrypted to, as `safellm audit content-key` printed it; only the private key, "
        "best on another machine, reads it.",
    )
    content_bytes: int = Field(MiB, gt=0, le=64 * MiB, description="Bytes kept of a request or an answer.")
    checkpoint_records: int = Field(1000, gt=0, description="Records of a process after which the trail is signed.")
    checkpoint_seconds: int = Field(
        300, gt=0, description="Seconds after which a record is signed at the latest; it is when the program ends, too."
    )
    checkpoint_to: tuple[str, ...] = Field(
        (),
        description="Where copies of checkpoints go: absolute files, best on another machine's disk, 'syslog', 'logging', "
        "'otel', a table by postgresql://, a bucket by s3://. A copy that was kept proves every record before it.",
    )


def _checked_span(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,4}[smhdw]", text):
        msg = "write a time as 30s, 1m, 6h, 7d or 2w"
        raise ValueError(msg)
    return text


_Span = Annotated[str, AfterValidator(_checked_span)]
_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MICRO = 1_000_000
_LONGEST_MEAN = 60  # windows whose mean counts


class Alert(_Part):
    """Something that a person wants to be told of; exactly one of count and new."""

    name: str = Field(min_length=1, max_length=64, description="Its name for people.")
    count: watched.Counted | None = Field(
        None, description="What is counted: calls, refusals, failures, findings, tokens or usd."
    )
    new: watched.Label | None = Field(
        None, description="Tell of a value that was never seen: origin, model, user, key, operation, finding and so on."
    )
    at_least: Annotated[Decimal, Field(gt=0)] | None = Field(None, description="The count from which on it is told.")
    times_mean: Annotated[Decimal, Field(gt=0, le=1000)] | None = Field(
        None, description="How many times the mean of the windows before; with at_least, both must be reached."
    )
    within: _Span = Field("1h", description="The time over which is counted: 30s, 1m, 6h, 1d.")
    mean_of: _Span = Field("7d", description="The time before it whose mean counts.")
    per: tuple[watched.Label, ...] = Field(
        (), description="Labels each of whose values is counted for itself: ['user', 'model']."
    )
    where: dict[watched.Label, str] = Field(
        default_factory=dict, description="Labels and what they must match: {reason = 'budget.*', finding = 'EMAIL'}."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Alert:
        msg = None
        if (self.count is None) == (self.new is None):
            msg = "an alert has either count or new"
        elif self.new is not None and (self.at_least is not None or self.times_mean is not None):
            msg = "at_least and times_mean belong to count, not to new"
        elif self.count is not None and self.at_least is None and self.times_mean is None:
            msg = "an alert that counts needs at_least or times_mean"
        elif self.count != "usd" and self.at_least is not None and self.at_least % 1:
            msg = "at_least must be a whole number, but for usd"
        elif "finding" in self.per:
            msg = "per can't be finding; write one alert with where = {finding = '...'} for each"
        elif "finding" in self.where and "finding" not in (self.new, (self.count or "").removesuffix("s")):
            msg = "where.finding belongs to count = 'findings' or new = 'finding'"
        elif self.times_mean is not None and not 1 <= _seconds(self.mean_of) // _seconds(self.within) <= _LONGEST_MEAN:
            msg = f"mean_of must be as long as within at least, and {_LONGEST_MEAN} times as long at most"
        if msg is not None:
            raise ValueError(msg)
        return self

    def rule(self) -> watched.Rule:
        """Return the rule; money in micro-dollars."""
        unit = _MICRO if self.count == "usd" else 1
        return watched.Rule(
            name=self.name,
            count=self.count,
            new=self.new,
            at_least=None if self.at_least is None else max(1, int(self.at_least * unit)),
            times_mean=None if self.times_mean is None else max(1, int(self.times_mean * 1000)),
            within_s=_seconds(self.within),
            mean_of_s=_seconds(self.mean_of),
            window=self.within,
            per=self.per,
            where=tuple(sorted(self.where.items())),
        )


def _seconds(span: str) -> int:
    return int(span[:-1]) * _SPAN_S[span[-1]]


class Egress(_Part):
    """Where calls may go besides the provider's own origins and those given in code."""

    origins: tuple[str, ...] = Field((), description="More origins, as https://host[:port].")
    allow_http: bool = Field(False, description="Plain http to other machines. Loopback is always allowed.")
    private: tuple[str, ...] = Field(
        (),
        description="Origins whose names may lead to private addresses, as https://host[:port]. All others have to lead to "
        "public ones; in guard mode, those that the program gives in code may be private too.",
    )
    proxy: str | None = Field(
        None,
        description="The proxy for https calls, as http://host:port or https://host:port; it gets CONNECT and never a plain "
        "call. Without it, guard mode uses those of the environment, strict mode none.",
    )
    ca_bundle: str | None = Field(
        None,
        description="File with the only certificate authorities that count (PEM). Without it, those of the system.",
    )


def _checked_store(text: str) -> str:
    if text not in ("auto", "keyring", "file") and plugin_in(text) is None:
        msg = "write auto, keyring, file or plugin:NAME"
        raise ValueError(msg)
    return text


class Keys(_Part):
    """Where keys come from."""

    name: str | None = Field(None, description="Name of the key in the vault; default: the provider's name.")
    environment: bool = Field(True, description="Use the provider's variable, such as OPENAI_API_KEY.")
    vault: bool = Field(
        True, description="Ask the vault: the key store of the operating system, or the encrypted file."
    )
    store: Annotated[Literal["auto", "keyring", "file"] | str, AfterValidator(_checked_store)] = Field(  # noqa: PYI051 - shown as such
        "auto",
        description="Which vault: keyring, file, or plugin:NAME; auto: the key store, or the encrypted file where there is none "
        "and one was made.",
    )
    files: bool = Field(True, description="Use secret files of containers and of systemd.")
    clear_environment: bool = Field(
        False, description="Take a key's variable out of the environment once it is read: child processes don't get it."
    )
    rotate_days: Annotated[int, Field(gt=0)] = Field(90, description="Age at which a key without a date counts as old.")


class Ask(_Part):
    """What `safellm ask` and `%%ask` do when nothing is said."""

    model: str = Field("", description="The model that is asked, such as gpt-5-mini or claude-sonnet-5-5.")
    profile: str = Field("", description="A server of OpenAI's dialect, such as ollama.")


class Limits(_Part):
    """Sizes beyond which a call is refused."""

    request_bytes: int = Field(64 * MiB, gt=0, description="Largest request body that is read.")
    response_bytes: int = Field(256 * MiB, gt=0, description="Largest decoded answer, streamed or not.")
    response_seconds: int = Field(
        3600, gt=0, description="Longest time from sending a request to the end of its answer, streamed or not."
    )
    event_bytes: int = Field(16 * MiB, gt=0, description="Largest single event of a stream.")
    json_depth: int = Field(128, gt=0, le=500, description="Deepest nesting of a JSON body.")


class Policy(_Part):
    """Everything the guards need to know; frozen, comparable, and identified by its digest."""

    mode: Mode = Field(Mode.GUARD, description="observe: change and refuse nothing; guard; strict.")
    metrics: Annotated[str, StringConstraints(pattern=r"^(auto|on|off|prometheus(:[1-9][0-9]{0,4})?)$")] = Field(
        "auto",
        description="Numbers of calls through OpenTelemetry. auto: once the program has a meter provider; on: to the one that "
        "OpenTelemetry's variables name; prometheus[:port]: served on 127.0.0.1, port 9464, for Prometheus; off.",
    )
    unknown_endpoints: Literal["walk", "deny"] = Field("walk", description="Paths that the adapter does not know.")
    retention: Literal["provider", "none"] = Field(
        "provider",
        description="Whether a provider may keep what it is sent. none: it is told not to store anything, names of people are sent "
        "as pseudonyms, metadata isn't sent, and endpoints that are there to keep something are refused.",
    )
    redaction: Redaction = Redaction()
    rules: tuple[TextRule, ...] = Field((), description="Words and patterns of your own: see own-guards.md.")
    plugins: tuple[PluginName, ...] = Field(
        (),
        description="Guards and detectors of installed packages that are used, by name, in this order: see own-guards.md.",
    )
    providers: tuple[PluginName, ...] = Field(
        (), description="Servers that installed packages describe and OpenAI(profile=…) may name: see own-guards.md."
    )
    plugin_settings: dict[PluginName, dict[str, Any]] = Field(
        default_factory=dict, description="What a plug-in is made with: [plugin_settings.topics], allow = ['billing']."
    )
    input: Input = Input()
    untrusted: Untrusted = Untrusted()
    output: Output = Output()
    content: Content = Content()
    tools: dict[str, ToolRule] = Field(
        default_factory=dict,
        description='What a tool may do, by its name: [tools.search]; [tools."github_*"] for a family, [tools."*"] for all others.',
    )
    tool_calls: ToolCalls = ToolCalls()
    budget: Budgets = Budgets()
    prices: dict[str, Price] = Field(
        default_factory=dict, description='Prices of models, which stand before the list\'s: [prices."my-model"].'
    )
    audit: Audit = Audit()
    alerts: tuple[Alert, ...] = Field((), description="What a person is told of, by an event: see audit.md.")
    egress: Egress = Egress()
    keys: Keys = Keys()
    ask: Ask = Ask()
    limits: Limits = Limits()

    @field_validator("redaction")
    @classmethod
    def _types_are_upper_case(cls, value: Redaction) -> Redaction:
        for name in (*value.types, *value.paths.values()):
            if not re.fullmatch(TYPE_NAME, name):
                msg = f"{name!r} is not a finding type; types are written like EMAIL or CREDIT_CARD"
                raise ValueError(msg)
        for path in value.paths:
            parse_path(path)
        return value

    @field_validator("plugins", "providers")
    @classmethod
    def _plugins_stand_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            msg = "a plug-in is named twice"
            raise ValueError(msg)
        return value

    @field_validator("rules")
    @classmethod
    def _rules_agree(cls, value: tuple[TextRule, ...]) -> tuple[TextRule, ...]:
        check_together(value)
        return value

    @field_validator("alerts")
    @classmethod
    def _alerts_have_names(cls, value: tuple[Alert, ...]) -> tuple[Alert, ...]:
        if len({one.name for one in value}) < len(value):
            msg = "two alerts have the same name"
            raise ValueError(msg)
        return value

    @property
    def plugged_ledger(self) -> str | None:
        """Name of the plug-in that keeps the ledger."""
        address = self.budget.ledger
        return None if address is None else plugin_in(address.get_secret_value())

    @property
    def plugged_elsewhere(self) -> tuple[str, ...]:
        """Names of all plug-ins besides guards and detectors."""
        stores = (self.plugged_ledger, plugin_in(self.keys.store))
        return (*self.audit.sinks, *self.providers, *(one for one in stores if one is not None))

    @cached_property
    def hiding(self) -> Redaction:
        """`redaction` with the actions of `rules` by their types; where both say something of a type, the stricter counts."""
        types = dict(self.redaction.types)
        for rule in self.rules:
            if rule.kind not in DETECTED:
                said = Action(rule.action or Action.MASK)
                types[rule.kind] = max(said, types.get(rule.kind, said), key=STRICTNESS.index)
        return self.redaction if types == self.redaction.types else self.redaction.model_copy(update={"types": types})

    def alert_rules(self) -> tuple[watched.Rule, ...]:
        """Return the rules of all alerts, in order."""
        return tuple(one.rule() for one in self.alerts)

    @property
    def observes(self) -> bool:
        """Whether findings are only recorded."""
        return self.mode is Mode.OBSERVE

    @property
    def is_strict(self) -> bool:
        """Whether every relaxation of guard mode is off."""
        return self.mode is Mode.STRICT

    @property
    def audit_sync(self) -> Literal["each", "group", "none"]:
        """When the disk has a record: strict mode sends nothing before it has the intent (promise P5)."""
        return "each" if self.is_strict else self.audit.sync

    def judge(self) -> Judge | None:
        """Return who decides about addresses in answers; None if they pass."""
        if self.observes or self.output.links == "pass":
            return None
        strict = self.is_strict or self.output.links == "show"
        return judge_of(tuple(self.output.allowed_origins), strict=strict)

    def budget_limits(self) -> tuple[Limit, ...]:
        """Return all limits that count, in order, each on the account of no label."""
        return tuple(rule.limit for rule in self.budget.rules)

    def digest(self) -> str:
        """Return the SHA-256 of the policy's canonical JSON, hex; it stands in every audit record."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
