"""What people call: detect, redact, restore."""

from __future__ import annotations

import html
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import safellm

MAIL = "jane.doe@corp-mail.org"
CARD = "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run with settings of its own."""
    folder = tmp_path_factory.getbasetemp() / "redaction-home"
    folder.mkdir(exist_ok=True, mode=0o700)
    monkeypatch.setenv("SAFELLM_HOME", str(folder))
    for name in ("SAFELLM_REDACT", "SAFELLM_POLICY", "SAFELLM_REDACTION_REMEMBER"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_detect_names_places_in_code_points() -> None:
    """`text[start:end]` is what was found, also behind characters outside the basic plane."""
    text = f"😀😀 {MAIL}, {CARD}"
    found = safellm.detect(text)
    assert [(one.type, text[one.start : one.end]) for one in found] == [("EMAIL", MAIL), ("CREDIT_CARD", CARD)]
    assert all(one.rule and 0.5 <= one.confidence <= 1 for one in found)
    assert [one.type for one in safellm.detect(text, ["CREDIT_CARD"])] == ["CREDIT_CARD"]


def test_redact_is_a_text_with_its_findings() -> None:
    """The result is a `str` without the values, and leads back."""
    text = f"Mail {MAIL}"
    redacted = safellm.redact(text)
    assert isinstance(redacted, str)
    assert MAIL not in redacted
    assert [one.type for one in redacted.findings] == ["EMAIL"]
    assert redacted.restore() == safellm.restore(redacted) == text
    assert redacted.restore(f"To {redacted[5:]}!") == f"To {MAIL}!"
    assert safellm.restore(str(redacted)) == text


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from([MAIL, CARD, "://", "](", "X-EMAIL-0123456789ABCDEF", " "]), st.text(max_size=8))
    )
)
def test_p6_restore_of_redact_is_the_text(pieces: list[str]) -> None:
    """For every text, with the real detectors."""
    text = "".join(pieces)
    assert safellm.restore(safellm.redact(text)) == text
    assert safellm.restore(safellm.redact(text, {"EMAIL": "surrogate", "CREDIT_CARD": "surrogate"})) == text


def test_r_7_restore_knows_positions() -> None:
    """In a text of somebody else's, a value doesn't come back where it would be sent away."""
    hidden = str(safellm.redact(MAIL))
    text = f"![x](https://e.example/?q={hidden}) and {hidden}"
    assert safellm.restore(text) == text.replace(f"and {hidden}", f"and {MAIL}")


@pytest.mark.parametrize(
    ("action", "expected"),
    [("allow", MAIL), ("remove", "[EMAIL removed]"), ("surrogate", "@example."), ("mask", "X-EMAIL-")],
)
def test_actions_by_type(action: str, expected: str) -> None:
    """A table of actions comes before the policy's."""
    assert expected in safellm.redact(f"Mail {MAIL}", {"EMAIL": action})


def test_a_blocked_type_refuses() -> None:
    """`block` stops, and the message doesn't repeat the value."""
    with pytest.raises(safellm.Refused) as caught:
        safellm.redact(f"Mail {MAIL}", {"EMAIL": "block"})
    assert MAIL not in str(caught.value)


def test_types_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list hides these types only, in code and in `SAFELLM_REDACT`."""
    text = f"{MAIL} {CARD}"
    assert MAIL in safellm.redact(text, ["CREDIT_CARD"])
    assert CARD not in safellm.redact(text, ["CREDIT_CARD"])
    monkeypatch.setenv("SAFELLM_REDACT", "CREDIT_CARD")
    assert MAIL in safellm.redact(text)
    assert CARD not in safellm.redact(text)
    monkeypatch.setenv("SAFELLM_REDACT", "EMAIL=remove")
    assert "[EMAIL removed]" in safellm.redact(text)
    assert CARD not in safellm.redact(text)


@pytest.mark.parametrize("types", ["EMAIL", {"EMAIL": "hide"}])
def test_wrong_types_are_an_error(types: object) -> None:
    """A text instead of a list, or an action that isn't one, hides nothing by accident."""
    with pytest.raises(safellm.ConfigurationError):
        safellm.redact(MAIL, types)  # type: ignore[arg-type]


@pytest.mark.parametrize("types", [["EMIAL"], {"EMIAL": "block"}])
def test_p6_a_misspelt_type_is_an_error(types: list[str] | dict[str, str]) -> None:
    """Nothing is given back as redacted because of a slip of the pen."""
    with pytest.raises(safellm.ConfigurationError, match=r"There is no type 'EMIAL'. Did you mean 'EMAIL'\?$"):
        safellm.redact("Write to jane@example.com", types=types)


def test_r_8_conversations_are_apart() -> None:
    """A placeholder of one conversation is unknown in another and outside; the same conversation knows it later."""
    with safellm.conversation("alice"):
        hidden = str(safellm.redact(MAIL))
        assert safellm.redact(MAIL) == hidden
    with safellm.conversation("bob"):
        assert safellm.redact(MAIL) != hidden
        assert safellm.restore(hidden) == hidden
    assert safellm.restore(hidden) == hidden
    with safellm.conversation("alice"):
        assert safellm.restore(hidden) == MAIL


def test_r_8_processes_are_apart_unless_the_policy_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside conversations another process gives another placeholder; a remembered conversation comes back in it."""
    monkeypatch.setenv("SAFELLM_REDACTION_REMEMBER", "encrypted")
    hidden = str(safellm.redact(MAIL))
    with safellm.conversation("alice"):
        kept = str(safellm.redact(MAIL))
    code = (
        f"import safellm\nassert safellm.redact({MAIL!r}) != {hidden!r}\nassert safellm.restore({kept!r}) == {kept!r}\n"
        f"with safellm.conversation('bob'):\n    assert safellm.restore({kept!r}) == {kept!r}\n"
        f"with safellm.conversation('alice'):\n    assert safellm.restore({kept!r}) == {MAIL!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_result_that_is_saved_holds_no_values() -> None:
    """A pickle, as a notebook's cache writes, has the redacted text only."""
    redacted = safellm.redact(MAIL)
    data = pickle.dumps(redacted)
    assert MAIL.encode() not in data
    assert pickle.loads(data) == str(redacted)
    assert MAIL not in repr(redacted)


def test_o_1_the_rich_view_is_data_only() -> None:
    """In a notebook nothing of the text is markup, no value is in it, and what can't be seen is shown."""
    text = f"<script>alert(1)</script>\u202e\x1b[31m {MAIL} \"'&"
    view = safellm.redact(text)._repr_mimebundle_()["text/html"]
    assert "<script" not in view
    assert MAIL not in view
    assert "\u202e" not in view
    assert "\x1b" not in view
    assert html.escape("<script>alert(1)</script>") in view
    assert "EMAIL: mask" in view


def test_importing_and_marking_load_little() -> None:
    """Neither `import safellm` nor a mark loads the engine, a store's cryptography or an SDK."""
    code = (
        "import sys, safellm\nsafellm.sensitive('4711', 'ID')\n"
        "late = {'openai', 'cryptography', 'pydantic', 're2', 'hyperscan', 'structlog', 'rich', 'typer', 'sqlite3'}\n"
        "bad = late & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
