"""`safellm discover`: what it finds in a small tree, what it leaves alone, and how it tells."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from safellm.discover import Level, discover
from safellm.discover.sarif import to_sarif

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4 + "T3BlbkFJ" + "A1b2C3d4E5" * 4


def found(tmp_path, name, text, *, notes=False):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    report = discover(tmp_path)
    return [(one.rule, one.what, one.line) for one in report.findings if notes or one.level is not Level.NOTE]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import openai\nc = openai.OpenAI()\n", [("client", "openai.OpenAI", 2)]),
        ("from openai import AsyncOpenAI as A\nc = A()\n", [("client", "openai.AsyncOpenAI", 2)]),
        ("import openai as o\no.chat.completions.create(model='x')\n", [("client", "openai.chat.completions.create", 2)]),
        ("import openai\nopenai.ChatCompletion.create()\n", [("client", "openai.ChatCompletion.create", 2)]),
        ("from openai import AzureOpenAI\nAzureOpenAI()\n", [("client", "openai.AzureOpenAI", 2)]),
        ("from anthropic import Anthropic\nAnthropic()\n", [("client", "anthropic.Anthropic", 2)]),
        ("from anthropic import AnthropicBedrock\nAnthropicBedrock()\n", [("client", "anthropic.AnthropicBedrock", 2)]),
        ("from google import genai\ngenai.Client()\n", [("client", "google.genai.Client", 2)]),
        ("import google.generativeai as g\ng.GenerativeModel('x')\n", [("client", "google.generativeai.GenerativeModel", 2)]),
        ("import boto3\nboto3.client('bedrock-runtime')\nboto3.client('s3')\n", [("client", "boto3 bedrock-runtime", 2)]),
        ("import litellm\nlitellm.completion()\n", [("framework", "litellm.completion", 2)]),
        ("from langchain_openai import ChatOpenAI\nChatOpenAI()\n", [("framework", "langchain_openai.ChatOpenAI", 2)]),
        ("import dspy\ndspy.LM('openai/x')\n", [("framework", "dspy.LM", 2)]),
        ("import instructor\ninstructor.from_provider('openai/x')\n", [("framework", "instructor.from_provider", 2)]),
        ("from llama_index.llms.openai import OpenAI\nOpenAI()\n", [("framework", "llama_index.llms.openai.OpenAI", 2)]),
        ("u = 'https://api.openai.com/v1/responses'\n", [("url", "api.openai.com", 1)]),
        ("u = f'https://{name}.openai.azure.com/x'\n", [("url", "x.openai.azure.com", 1)]),
        ("def f():\n    '''See https://api.openai.com.'''\n    # api.openai.com\n", []),
        ("import openai\ntry: pass\nexcept openai.APIError: pass\n", []),
        ("from safellm import OpenAI\nOpenAI()\n", []),
        ("import safellm.openai as openai\nopenai.chat.completions.create()\nopenai.OpenAI()\n", []),
        ("import instructor\nfrom safellm import OpenAI\nc = instructor.from_openai(OpenAI())\n", []),
        ("from safellm import OpenAI as S\nfrom langchain_openai import ChatOpenAI as C\na, b = S(), 1\nC(client=a)\n", []),
        ("from safellm import OpenAI\nimport dspy\nclass G: pass\ndspy.LM('x', engine=G(OpenAI()))\n", []),
        ("import safellm, openai\nsafellm.install()\nopenai.OpenAI()\n", []),
        ("class OpenAI: pass\nOpenAI()\nx.OpenAI()\n", []),
    ],
)  # fmt: skip
def test_python(tmp_path, code, expected):
    """Names are followed to the class they stand for; what safellm made, or guards, is no finding."""
    assert found(tmp_path, "src/a.py", code) == expected


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("a.ts", "import OpenAI from 'openai';\nconst c = new OpenAI({});\n", [("client", "OpenAI", 2)]),
        ("a.mjs", "const a = new Anthropic();\n", [("client", "Anthropic", 1)]),
        ("a.tsx", "const m = createOpenAI({})('gpt');\n", [("framework", "createOpenAI", 1)]),
        ("a.js", "fetch('https://api.openai.com/v1/chat/completions')\n", [("url", "api.openai.com", 1)]),
        ("a.js", "const x = new Map(); fetch('https://example.com')\n", []),
        ("a.go", "c := openai.NewClient()\n", [("client", "openai.NewClient", 1)]),
        ("A.java", "var c = OpenAIOkHttpClient.fromEnv();\n", [("client", "OpenAIOkHttpClient", 1)]),
        ("A.cs", "var c = new ChatClient(model);\n", [("client", "ChatClient", 1)]),
        ("a.rb", "client = OpenAI::Client.new\n", [("client", "OpenAI::Client", 1)]),
        ("a.rs", "let c = async_openai::Client::new();\n", [("client", "async_openai::Client", 1)]),
        ("a.php", "$c = OpenAI::client($k);\n", [("client", "OpenAI::client", 1)]),
        ("a.R", "chat <- ellmer::chat_openai()\n", [("client", "ellmer::chat_openai", 1)]),
        ("a.sh", "curl https://api.anthropic.com/v1/messages\n", [("url", "api.anthropic.com", 1)]),
        ("conf.yaml", "base: https://api.groq.com/openai/v1\n", [("url", "api.groq.com", 1)]),
        (".env", "OPENAI_BASE_URL=https://openrouter.ai/api/v1\n", [("url", "openrouter.ai", 1)]),
        ("node_modules/x/a.js", "new OpenAI()\n", []),
    ],
)
def test_other_languages(tmp_path, name, code, expected):
    """By pattern, and by address; folders of dependencies are left out."""
    assert found(tmp_path, name, code) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("requirements-dev.txt", "# x\nopenai>=3\nrequests\n", ["openai"]),
        (
            "pyproject.toml",
            "[project]\ndependencies = ['litellm']\n[dependency-groups]\na = ['Google_GenAI']\n",
            ["litellm", "google-genai"],
        ),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '3'\nlitellm = '*'\n", ["litellm"]),
        ("setup.py", "setup(install_requires=[\n  'openai>=1',\n])\n", ["openai"]),
        ("environment.yml", "dependencies:\n  - numpy\n  - pip:\n    - dspy==3\n", ["dspy"]),
        ("package.json", '{"dependencies": {"openai": "5", "left-pad": "1"}}', ["openai"]),
        ("go.mod", "require (\n\tgithub.com/openai/openai-go/v2 v2.1.0\n)\n", ["github.com/openai/openai-go/v2"]),
        ("pom.xml", "<groupId>com.openai</groupId>\n<artifactId>openai-java</artifactId>", ["com.openai:openai-java"]),
        ("Cargo.toml", "[dependencies]\nasync-openai = '0.2'\n", ["async-openai"]),
    ],
)  # fmt: skip
def test_dependencies(tmp_path, name, text, expected):
    """Manifests of several ecosystems; a dependency is a note."""
    assert [what for rule, what, _ in found(tmp_path, name, text, notes=True) if rule == "dependency"] == expected


def test_notebooks(tmp_path):
    """Cells are one program: a name of an earlier cell counts, magics don't disturb, outputs are searched for keys."""
    cells = [
        {"cell_type": "code", "source": ["%pip install openai\n", "from openai import OpenAI\n"], "outputs": []},
        {"cell_type": "markdown", "source": "OpenAI()"},
        {"cell_type": "code", "source": "!ls\nc = OpenAI()\n", "outputs": [{"text": [f"key {KEY}\n"]}]},
        {"cell_type": "code", "source": "%%bash\ncurl x", "outputs": []},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}), "utf-8")
    report = discover(tmp_path)
    places = [(one.rule, one.cell, one.line) for one in report.findings if one.level is not Level.NOTE]
    assert places == [("key", 3, 1), ("client", 3, 2)]


@pytest.mark.parametrize(("first", "count"), [("%load_ext safellm", 0), ("%load_ext rich", 1)])
def test_the_extension_guards_a_notebook(tmp_path, first, count):
    """A client of the plain SDK below `%load_ext safellm` is no warning, as it isn't below `safellm.install()`."""
    cells = [
        {"cell_type": "code", "source": f"{first}\n", "outputs": []},
        {"cell_type": "code", "source": "from openai import OpenAI\nOpenAI()\n", "outputs": []},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}), "utf-8")
    assert [one.rule for one in discover(tmp_path).findings if one.level is Level.WARNING] == ["client"] * count


def test_keys_are_found_and_never_told(tmp_path, run):
    """A key in a file is an error; neither form of the report holds any part of it. A made-up example is left alone."""
    (tmp_path / "a.py").write_text(f"k = {KEY!r}\ne = 'sk-your-key-here'\n", "utf-8")
    assert [(one.rule, one.line, one.level) for one in discover(tmp_path).findings] == [("key", 1, Level.ERROR)]
    for option in ([], ["--json"], ["--sarif"]):
        done = run("discover", tmp_path, *option)
        assert done.returncode == 1
        assert KEY[8:20] not in done.stdout + done.stderr


def test_what_cannot_be_read_is_told(tmp_path):
    """A file that is no Python, no UTF-8 or no JSON is a note, and its addresses are found all the same."""
    (tmp_path / "a.py").write_text("print 'https://api.openai.com'\n", "utf-8")
    (tmp_path / "b.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "package.json").write_text("{", "utf-8")
    rules = {(one.file, one.rule) for one in discover(tmp_path).findings}
    assert rules == {("a.py", "unread"), ("a.py", "url"), ("b.py", "unread"), ("package.json", "unread")}


def test_the_command_s_exit_codes_and_forms(tmp_path, run):
    """0 without a finding, 1 with one, 2 for wrong use; table, JSON, SARIF."""
    (tmp_path / "a.py").write_text("from safellm import OpenAI\nOpenAI()\n", "utf-8")
    clean = run("discover", tmp_path)
    assert (clean.returncode, "1 file searched" in clean.stdout) == (0, True)
    (tmp_path / "b.py").write_text("import openai\nopenai.OpenAI()\n", "utf-8")
    table = run("discover", tmp_path)
    assert table.returncode == 1
    assert "b.py:2" in table.stdout
    document = json.loads(run("discover", tmp_path, "--json").stdout)
    assert document["counts"] == {"error": 0, "warning": 1, "note": 1}
    assert run("discover", tmp_path / "nothing").returncode == 2
    assert run("discover", tmp_path, "--json", "--sarif").returncode == 2


def test_sarif_is_what_the_standard_asks_for(tmp_path):
    """Version, rules by index, relative URIs, positions from 1, levels; one result for each finding."""
    (tmp_path / "with space.py").write_text("import openai\nopenai.OpenAI()\n", "utf-8")
    log = to_sarif(discover(tmp_path))
    (run_,) = log["runs"]
    rules = run_["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0"
    assert [rules[one["ruleIndex"]]["id"] for one in run_["results"]] == [one["ruleId"] for one in run_["results"]]
    result = next(one for one in run_["results"] if one["ruleId"] == "client")
    place = result["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "with%20space.py", "uriBaseId": "ROOT"},
        "region": {"startLine": 2, "startColumn": 1},
    }
    assert {one["level"] for one in run_["results"]} <= {"error", "warning", "note"}


def test_a_link_is_not_followed(tmp_path):
    """A symbolic link may lead anywhere, and in circles."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "out.py").write_text("import openai\nopenai.OpenAI()\n", "utf-8")
    try:
        (tmp_path / "tree" / "link.py").symlink_to(tmp_path / "out.py")
        (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    except OSError:
        pytest.skip("no symbolic links here")
    assert discover(tmp_path / "tree").files == 0
