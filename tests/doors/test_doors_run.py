"""`safellm run`: programs, modules, commands and their children, guarded or watched, without a change."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from doors_support import MAIL, nothing_leaked

import safellm
from safellm.auto import children

CALL = f"""
import sys
import openai
with openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0) as client:
    said = [{{"role": "user", "content": "mail {MAIL}"}}]
    print(client.chat.completions.create(model="gpt-4o", messages=said).choices[0].message.content)
"""
ANSWER = f'You wrote: "mail {MAIL}"\n'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my program.py"
    path.write_text(CALL, "utf-8")
    return path


def test_a_script_is_guarded(run, script, provider):
    """`safellm run script.py URL` sends placeholders and prints the values."""
    done = run("run", script, provider.base_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")
    nothing_leaked(provider, 1)


def test_a_module_is_guarded(run, script, provider, tmp_path):
    """`safellm run -m module`, whose own options are left to it."""
    script.rename(tmp_path / "told.py")
    done = run("run", "-m", "told", provider.base_url, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ANSWER)
    nothing_leaked(provider, 1)


def test_a_command_is_guarded(run, script, provider):
    """`safellm run -- COMMAND` guards every Python that the command starts, here through a shell."""
    if os.name != "posix":
        pytest.skip("a POSIX shell")
    done = run("run", "--", "sh", "-c", f"'{sys.executable}' '{script}' {provider.base_url}; exit 7")
    assert (done.returncode, done.stdout) == (7, ANSWER)
    nothing_leaked(provider, 1)


PARENT = """
import multiprocessing, os, subprocess, sys
script, url, way = sys.argv[1:]
def child():
    sys.argv[1:] = [url]
    exec(compile(open(script).read(), script, "exec"), {"__name__": "__main__"})
if __name__ == "__main__":
    bare = {name: os.environ[name] for name in ("SAFELLM_HOME", "SAFELLM_KEYS_VAULT")}
    command = [sys.executable, script, url]
    if way == "inherited":
        subprocess.run(command, check=True)
    elif way == "bare":
        subprocess.run(command, check=True, env=bare)
    elif way == "asyncio":
        import asyncio
        async def go():
            return await (await asyncio.create_subprocess_exec(*command, env=bare)).wait()
        asyncio.run(go())
    elif way == "execve":
        os.execve(command[0], command, bare)
    elif way == "own path":
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": "/nowhere"})
    else:
        process = multiprocessing.get_context(way).Process(target=child)
        process.start()
        process.join()
        sys.exit(process.exitcode)
"""
WAYS = ["inherited", "bare", "asyncio", "own path", "spawn"] + (
    ["execve", "fork", "forkserver"] if os.name == "posix" else []
)


@pytest.mark.parametrize("way", WAYS)
def test_children_are_guarded(run, script, provider, tmp_path, way):
    """However a Python child is started, and with whatever environment."""
    parent = tmp_path / "parent.py"
    parent.write_text(PARENT, "utf-8")
    done = run("run", parent, script, provider.base_url, way)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
    nothing_leaked(provider, 1)


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-Bs", "-uE", "-W error -I"])
def test_a_child_that_would_not_see_the_guard_is_refused(run, tmp_path, option):
    """`python -I` and its like are refused with the way out; options that don't matter are not."""
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys\n"
        "try:\n    subprocess.run([sys.executable, *sys.argv[1].split(), '-c', 'print(1)'], check=True)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n",
        "utf-8",
    )
    done = run("run", program, option)
    assert ("Refused A Python child" in done.stdout) == (option != "-Bs")
    assert done.returncode == 0


def test_a_python_without_safellm_is_not_started(tmp_path):
    """A Python that can't import safellm ends with the reason instead of running unguarded."""
    empty = tmp_path / "bootstrap"
    empty.mkdir()
    (empty / "sitecustomize.py").write_bytes((children.BOOTSTRAP / "sitecustomize.py").read_bytes())
    (empty / "safellm.py").write_text("raise ImportError('not here')\n", "utf-8")
    extra = {"PYTHONPATH": f"{empty}{os.pathsep}{tmp_path}", children.MARK: "guard"}
    (tmp_path / "safellm.py").write_text("raise ImportError('not here')\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "print('ran')"], capture_output=True, text=True, env=os.environ | extra
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "can't be guarded" in done.stderr
    assert sys.executable in done.stderr


def test_another_sitecustomize_still_runs(run, script, provider, tmp_path):
    """The `sitecustomize` that ours stands in front of is run, under its own name."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys\nsys.stderr.write(f'other {__name__}\\n')\n", "utf-8")
    done = run("run", script, provider.base_url, env=os.environ | {"PYTHONPATH": str(other)})
    assert (done.stdout, done.stderr) == (ANSWER, "other sitecustomize\n" * 2)  # the command itself, and the program
    nothing_leaked(provider, 1)


def test_the_program_sees_its_own_world(run, tmp_path):
    """`sys.argv`, `sys.path`, `__main__` and the working directory are what `python` gives; ours is not on the path."""
    program = tmp_path / "look.py"
    program.write_text(
        "import json, os, sys\n"
        "path = [one for one in sys.path if one]\n"
        "print(json.dumps([sys.argv, path, __name__, os.getcwd(), 'typer' in sys.modules]))\n",
        "utf-8",
    )
    plain = subprocess.run(
        [sys.executable, program, "a", "--json"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    done = run("run", program, "a", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads(plain.stdout)


def test_exit_codes_and_signals_are_the_program_s(run, tmp_path):
    """The program's exit code comes back, and so does its death by a signal."""
    program = tmp_path / "end.py"
    program.write_text("import os, sys\nos.kill(os.getpid(), 9) if sys.argv[1] == 'kill' else sys.exit(5)\n", "utf-8")
    assert run("run", program, "exit").returncode == 5
    assert run("run", "--observe", program, "exit").returncode == 5
    if os.name == "posix":
        assert run("run", program, "kill").returncode == -signal.SIGKILL
        assert run("run", "--observe", program, "kill").returncode == 128 + signal.SIGKILL


def test_nothing_to_run_and_wrong_settings_are_told(run, script):
    """Exit code 2 and a remedy; nothing is started."""
    for words in (["run"], ["run", "-m"], ["run", "--", "no-such-program-anywhere"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "safellm: " in done.stderr
    done = run("run", script, "x", env=os.environ | {"SAFELLM_MODE": "lax"})
    assert done.returncode == 2
    assert "SAFELLM_MODE" in done.stderr


def test_observing_lists_calls_and_changes_nothing(run, script, provider, tmp_path):
    """`--observe` names origin, library and place of each call, children's too; every byte is as it was sent."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, sys, urllib.request\n"
        "script, url = sys.argv[1:]\n"
        "subprocess.run([sys.executable, script, url], check=True)\n"
        "urllib.request.urlopen(urllib.request.Request(url + '/chat/completions', data=b'{}', method='POST'))\n",
        "utf-8",
    )
    done = run("run", "--observe", "--json", parent, script, provider.base_url)
    assert MAIL.encode() in provider.requests[0].body
    assert done.stdout == ANSWER
    found = json.loads(done.stderr[done.stderr.index("\n[") if "\n[" in done.stderr else done.stderr.index("[") :])
    rows = {(one["origin"], one["through"], one["caller"], one["calls"]) for one in found}
    assert rows == {
        (provider.origin, "openai", "my program.py:6", 1),
        (provider.origin, "urllib.request", "parent.py:4", 1),
    }
    requests_ = tmp_path / "raw.py"
    requests_.write_text(
        "import sys\n"
        "import asyncio, aiohttp, requests, urllib3\n"
        "url = sys.argv[1] + '/v1/chat/completions'\n"
        "requests.post(url, json={})\n"
        "urllib3.PoolManager().request('POST', url, json={})\n"
        "async def go():\n"
        "    async with aiohttp.ClientSession() as session:\n"
        "        await session.post(url, json={})\n"
        "asyncio.run(go())\n",
        "utf-8",
    )
    if importlib.util.find_spec("requests") and importlib.util.find_spec("aiohttp"):
        found = json.loads(run("run", "--observe", "--json", requests_, provider.origin).stderr)
        assert {(one["through"], one["library"], one["caller"], one["calls"]) for one in found} == {
            ("requests", "requests", "raw.py:4", 1),
            ("urllib3", "urllib3", "raw.py:5", 1),
            ("aiohttp", "aiohttp", "raw.py:8", 1),
        }
    table = run("run", "--observe", script, provider.base_url)
    assert "openai" in table.stderr
    assert table.stdout == ANSWER


def test_libraries_are_loaded_by_the_program_alone(run, tmp_path):
    """The guard imports no HTTP library, and its shells with the first call to a model only."""
    program = tmp_path / "program.py"
    program.write_text(
        "import importlib.util, sys\n"
        "names = 'aiohttp', 'requests', 'urllib3', 'httpx', 'httpx2'\n"
        "print([name for name in names if name in sys.modules])\n"
        "for name in names:\n"
        "    if importlib.util.find_spec(name):\n"
        "        __import__(name)\n"
        "print([name for name in sys.modules if name.startswith('safellm.transports.')])\n",
        "utf-8",
    )
    assert run("run", program).stdout.split() == ["[]", "[]"]


def test_variables_of_children_are_restored(monkeypatch):
    """`install` and `uninstall` leave `PYTHONPATH` as it was, and keep what stood in it while they are on."""
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    safellm.install()
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(children.BOOTSTRAP), "/some/where"]
    safellm.uninstall()
    assert os.environ["PYTHONPATH"] == "/some/where"
    assert children.MARK not in os.environ
