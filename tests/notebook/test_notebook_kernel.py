"""`%load_ext safellm` in a real kernel: calls, cells, outputs, questions, keys."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from safellm.notebook import cells
from safellm.testing.canary import sweep

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4
ASSEMBLED = "'sk-' + 'proj-' + 'A1b2C3d4E5' * 4"  # a cell that makes the key holds none
MAIL = "jane.doe@corp-mail.org"


def test_the_plain_sdk_is_guarded(run, provider):
    """After `%load_ext safellm`, a client of `openai` itself hides values, and finds its key."""
    cell = run(f"""
from openai import OpenAI
client = OpenAI(max_retries=0)
answer = client.responses.create(model="gpt-4o", input="mail {MAIL}").output_text
len(answer)""")
    assert (cell.status, cell.text) == ("ok", str(len(f'You wrote: "mail {MAIL}"')))
    assert sweep(MAIL, texts=provider.received) == []


@pytest.mark.parametrize(
    "show",
    [
        "print({})",
        "import sys; sys.stderr.write({})",
        "{}",
        "[{{'key': {}}}]",
        "raise ValueError({})",
        "from IPython.display import HTML, display; display(HTML('<b>' + {} + '</b>'))",
        "from IPython.display import JSON, display; display(JSON({{'deep': [{{'key': {}}}]}}))",
        "from IPython.display import Markdown, display; h = display(Markdown('x'), display_id=True); h.update(Markdown({}))",
        "import subprocess; subprocess.run(['echo', {}]); print({})",
    ],
)
def test_k_4_a_key_is_in_no_output(run, show):
    """Whatever way a cell shows it: the front end gets its type."""
    cell = run(show.format(ASSEMBLED, ASSEMBLED))
    assert KEY not in cell.saved
    assert "[SECRET]" in cell.saved


@pytest.mark.parametrize("cut", [3, 6, 20, 40])
def test_a_key_that_comes_in_pieces_is_hidden(run, cut):
    """Streams are flushed by time; the beginning of a key waits for its end."""
    cell = run(f"""
import sys, time
key = {ASSEMBLED}
sys.stdout.write("a " + key[:{cut}]); sys.stdout.flush(); time.sleep(0.3)
sys.stdout.write(key[{cut}:] + " b"); sys.stdout.flush()""")
    assert "".join(one.get("text", "") for one in cell.outputs) == "a [SECRET] b"


def test_personal_data_is_shown_when_a_person_says_so(run):
    """And not before; secrets never are."""
    assert run(f"'{MAIL}'").text == "'[EMAIL]'"
    assert run("%safellm show").status == "ok"
    assert run(f"'{MAIL}', {ASSEMBLED}").text == f"('{MAIL}', '[SECRET]')"
    assert run("%safellm hid").status == "error", "a slip of the pen doesn't look as if it had been done"
    assert run("%safellm hide").status == "ok"
    assert run(f"'{MAIL}'").text == "'[EMAIL]'"


def test_ordinary_output_is_not_changed(run):
    """Tables, long lines and lines without an end come as they are, in order."""
    cell = run("""
for number in range(3):
    print(number, end=" ")
print("x" * 5000)
print({"digest": "d" * 8, "loss": 0.25})""")
    assert cell.text == "0 1 2 " + "x" * 5000 + "\n{'digest': 'dddddddd', 'loss': 0.25}\n"


def test_a_cell_with_a_key_does_not_run(run):
    """It isn't in the history either, and the message names no key."""
    cell = run(f'ran = "{KEY}"')
    assert cell.status == "error"
    assert "openai-key" in cell.text
    assert "safellm key openai" in cell.text
    assert KEY not in cell.saved
    assert run("'ran' in dir()").text == "False"
    assert run("any('A1b2C3d4' + 'E5A1' in one for one in In)").text == "False"


def test_the_key_of_a_cell_can_be_kept(run):
    """The person is asked; the cell comes back without the key, and clients find it."""
    cell = run(f'import openai\nclient = openai.OpenAI(api_key="{KEY}")', answers=("y",))
    assert cell.status == "error"
    (payload,) = cell.payload
    assert payload["text"] == "import openai\nclient = openai.OpenAI(api_key=None)"
    assert payload["replace"] is True
    assert KEY not in cell.saved
    assert "this session only" in cell.text  # there is no key store here


def test_a_question_is_asked_and_its_answer_is_inert(run, provider):
    """`%%ask` hides, shows Markdown that loads nothing, and says what it did and cost."""
    cell = run(f"%%ask gpt-4o\nMail {MAIL} ![x](https://sink.example/x.png)")
    answer, strip = cell.outputs[0]["data"], cell.outputs[-1]["data"]
    assert "](https://sink" not in answer["text/markdown"]
    assert MAIL not in cell.saved
    assert "1 EMAIL" in strip["text/plain"]
    assert "safellm show" in strip["text/plain"]
    assert "tokens" in strip["text/html"]
    assert sweep(MAIL, texts=provider.received) == []


@pytest.mark.parametrize("line", ["%%ask\nhi", "%%ask gpt-4o --nonsense 1\nhi", "%%ask gpt-4o\n "])
def test_a_wrong_question_says_what_is_missing(run, line):
    """One line, no traceback."""
    cell = run(line)
    assert cell.status == "error"
    assert "Traceback" not in cell.text


def test_the_dashboard_shows_this_session(run):
    """A page in a frame without rights."""
    assert run("%%ask gpt-4o\nhi").status == "ok"
    cell = run("import safellm; safellm.dashboard()")
    (shown,) = [one["data"] for one in cell.outputs]
    assert shown["text/html"].startswith("<iframe sandbox srcdoc=")
    assert "gpt-4o" in shown["text/html"]


def test_unloading_undoes_it(run):
    """Outputs and cells are as before; loading again guards again."""
    assert run("%unload_ext safellm").status == "ok"
    try:
        assert json.loads(run(f"print({ASSEMBLED})").saved)[0]["text"] == KEY + "\n"
    finally:
        assert run("%load_ext safellm").status == "ok"
    assert KEY not in run(f"print({ASSEMBLED})").saved


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('OpenAI(api_key="{}")', "OpenAI(api_key=None)"),
        ("OpenAI(api_key=r'{}', timeout=3)", "OpenAI(api_key=None, timeout=3)"),
        ('os.environ["OPENAI_API_KEY"] = "{}"', 'os.environ["OPENAI_API_KEY"] = "<a key was here>"'),
        ("%env OPENAI_API_KEY={}", "%env OPENAI_API_KEY=<a key was here>"),
        ("!curl -H 'Authorization: Bearer {}' x", "!curl -H 'Authorization: Bearer <a key was here>' x"),
    ],
)
def test_a_cell_is_shown_without_its_key(home, source, left):
    """An argument becomes None; anything else says what was there."""
    text = source.format(KEY)
    assert cells.without(text, cells.find_keys(text)) == left


@pytest.mark.parametrize(
    "source", ["password = 'hunter2hunter2'", "x = '" + "ab12" * 10 + "'", "key = 'YOUR_KEY_HERE'", ""]
)
def test_what_may_be_no_key_stops_no_cell(home, source):
    """Only forms that are certain do."""
    assert cells.find_keys(source) == []
