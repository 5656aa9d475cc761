"""What the guards of one request share: the request, its texts, and what was found and done."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from safellm._core.adapter import Adapter, LocalAnswer, Route, UsageSeen
from safellm._core.bodies import Body
from safellm._core.caveats import Attempt
from safellm._core.detection.finding import Scanner
from safellm._core.effects import JSON, Amounts, Limit
from safellm._core.fields import Field
from safellm._core.origin import Origin
from safellm._core.placeholder import Mapping
from safellm._core.policy import Policy
from safellm._core.standing import Standing

if TYPE_CHECKING:
    from safellm._core.detection.growing import GrowingIndex
    from safellm._core.detection.registered import RegisteredSecrets
    from safellm._core.echo import Echo
    from safellm._core.plugged import Plugged, RequestView
    from safellm._core.redaction.spots import Finder
    from safellm._core.tools.gate import Gate, Toolbox
    from safellm._core.tools.shapes import Declared
    from safellm._core.valueecho import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request without its body. Header names are lower case; `target` is path and query as they will be sent.

    Attributes:
        known: What was found out about requests that differ in nothing but their bodies; shared by their heads. Who puts
            something there names what it depends on besides the head.
        kept_bytes: Input of this call that the provider has already, because it keeps the conversation with the connection.
        grows: What the conversation hides later may come back in this call's answer.
        declared: Tools that were declared before on the connection that this call is part of; its own count instead.
        timeout_s: How long the program waits for an answer, in seconds; None for ever, or where that isn't known.
    """

    method: str
    origin: Origin
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    extensions: frozenset[str] = frozenset()
    known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    kept_bytes: int = 0
    grows: bool = False
    timeout_s: float | None = None
    declared: Declared | None = field(default=None, repr=False, compare=False)
    _first: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_first", dict(reversed(self.headers)))

    def header(self, name: str) -> str:
        """Return the first value of a header, or an empty text."""
        return self._first.get(name, "")

    def carries(self, text: str) -> bool:
        """Return whether a header value holds a text."""
        return any(text in value for _, value in self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedKey:
    """A key that the SDK doesn't hold.

    Attributes:
        placeholder: What the SDK holds instead.
        ref: Where the key comes from, for records: `vault:openai`, `env:OPENAI_API_KEY`.
        origins: The only ones that it is sent to (promise P1).
    """

    placeholder: str
    ref: str
    origins: frozenset[Origin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where the calls of one client may go.

    Attributes:
        origins: Origins that the client was made for: the provider's own, those of the policy, the one given in code.
        managed: The keys that the transport puts in.
    """

    origins: frozenset[Origin]
    managed: tuple[ManagedKey, ...] = ()


class Prices(Protocol):
    """What tokens cost, in micro-US-dollars; None where no price is known."""

    def bound(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that a call can cost."""
        ...

    def price(self, provider: str, model: str, usage: UsageSeen, tier: str | None = None) -> int | None:
        """Return what a call of known input and output cost; `tier` is what was asked for."""
        ...


class Counter(Protocol):
    """Exact numbers of tokens, for tokenizers that are public."""

    def ready(self, encoding: str) -> bool:
        """Return whether an encoding can count at once; if not, begin to load it without waiting."""
        ...

    def count(self, encoding: str, texts: Sequence[str], *, wait: bool = True) -> int | None:
        """Return how many tokens the texts have, each by itself; None where they can't be counted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What guards work with; made once per client."""

    policy: Policy
    adapter: Adapter
    scanner: Scanner
    registered: Finder | None
    key: bytes = field(repr=False)  # of placeholders and content digests
    prices: Prices
    policy_digest: str
    sdk: str  # name and version, for records
    counter: Counter | None = None  # None: bounds decide alone
    secrets: Callable[[], RegisteredSecrets | None] | None = None  # those that no answer may hold
    # Registered and marked ones: only of the conversation that holds them.
    values: Callable[[], Sequence[Values]] | None = None
    others: GrowingIndex | None = None  # what conversations of this process hid
    own: Finder | None = None  # rules of the policy and detectors of plug-ins; None: there are none
    guards: tuple[Plugged, ...] = ()  # of plug-ins, in the order of the policy
    waits: bool = False  # a plug-in may take its time, so programs with an event loop run the guards in a thread


_NO_AMOUNTS = Amounts()


@dataclass(slots=True, kw_only=True)
class Call:
    """One request under way. Guards read `fields`, change them with `change`, and add to the counts."""

    tools: Tools
    head: RequestHead
    bounds: Bounds
    route: Route
    body: Body
    fields: list[Field]
    mapping: Mapping
    size: int
    policy: Policy  # of the tools
    call_id: str = ""  # of this attempt
    changed: bool = False
    grown: int = 0  # bytes by which changes made the body longer
    hide_usage: bool = False
    findings: Counts[str] = field(default_factory=Counts)
    kept: Counts[str] = field(default_factory=Counts)  # of these, what was sent as it is: `Route.accounts`
    # Values, their types, their texts.
    hidden_at: list[tuple[str, str, Field]] = field(default_factory=list, repr=False)
    marked: list[tuple[Field, str, str]] = field(default_factory=list, repr=False)  # texts, sources and marked parts
    hidden_removed: int = 0
    retention_changes: list[str] = field(default_factory=list)  # keys of the body that were set, replaced or taken out
    upload_counts: dict[str, int] = field(default_factory=dict)  # lines of files
    untrusted_sources: tuple[str, ...] = ()  # where text of others in it came from
    injection_score: int = 0  # of that text, in thousandths
    injection_signals: set[str] = field(default_factory=set)
    would_refuse: list[str] = field(default_factory=list)
    amounts: Amounts = _NO_AMOUNTS
    counted: bool = False  # the input was counted exactly, or that was tried
    bounded: bool = False  # a limit counts what it spends: its output may not exceed what is held
    labels: dict[str, str] = field(default_factory=dict)  # provider, model and operation
    said: MappingABC[str, str] = field(default_factory=dict)  # what system, policy and program say of whose call it is
    limits: tuple[Limit, ...] = ()  # of the policy, those that it falls under
    standing: Standing | None = None
    attempt: Attempt | None = None  # as far as the request itself says
    toolbox: Toolbox | None = None  # None: nobody asks about tools
    gate: Gate | None = None  # judges the tool calls of the answer
    echo: Echo | None = None  # searches the answer for what it may not give away
    local: LocalAnswer | None = None  # a guard answers in the provider's place
    answered_by: str = ""  # which one
    # Makes it of a text; None: this connection can't take one.
    may_answer: Callable[[str], LocalAnswer | None] | None = None
    record: dict[str, JSON] | None = None  # what its records begin with
    viewed: RequestView | None = None  # the request as it is sent, for guards that are told of its answer
    untrusted_text: bool = False  # the request holds text that is marked as somebody else's

    @property
    def scoped_limits(self) -> tuple[Limit, ...]:
        """The ceilings of grant and scopes; they hold in every mode."""
        return self.standing.limits if self.standing is not None else ()

    @property
    def model(self) -> str:
        """The model that the request names, or an empty text."""
        if self.route.model:
            return self.route.model
        value = self.body.value
        model = value.get("model") if isinstance(value, dict) else None
        if isinstance(model, str):
            return model
        segments = self.head.path.split("/")
        return segments[segments.index("deployments") + 1] if "deployments" in segments[:-1] else ""

    @property
    def service_tier(self) -> str | None:
        """The tier of service that the request asks for by name; None for the standard one and for what the project sets."""
        value = self.body.value
        tier = value.get("service_tier") if isinstance(value, dict) else None
        return tier if isinstance(tier, str) and tier not in ("auto", "default", "standard", "standard_only") else None

    @property
    def streams(self) -> bool:
        """Whether the request asks for a stream."""
        value = self.body.value
        return self.route.streams or (isinstance(value, dict) and value.get("stream") is True)

    def change(self, one: Field, text: str) -> None:
        """Replace a text, unless the policy only observes."""
        if not self.policy.observes:
            self.grown += _bytes(text) - _bytes(one.text)
            one.put(text)
            self.changed = True


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
