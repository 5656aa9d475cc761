"""Loaded by Python at its start when `safellm run` or `safellm.install()` put this folder first in `PYTHONPATH`.

It installs the guard, then runs the `sitecustomize` that it stands in front of. If the guard can't be installed, the process
ends: it must not go on without. Any Python 3 may be started, so it is written for all of them.
"""

# SPDX-License-Identifier: Apache-2.0
import os
import sys


def _end(problem: str) -> None:
    sys.stderr.write(
        "safellm: this Python can't be guarded, so it is not started: {}\n"
        "  interpreter: {}\n"
        "  Install safellm there, or start the program outside of `safellm run`.\n".format(problem, sys.executable)
    )
    sys.stderr.flush()
    os._exit(2)  # an exception would be shown, and Python would go on


def _start() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    how = os.environ.get("_SAFELLM_RUN", "")
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != here]
    if how:
        if sys.version_info < (3, 11):
            _end("it is older than Python 3.11")
        try:
            from safellm import auto

            if how == "observe":
                auto.observe()
            else:
                auto.install()
        except Exception as error:
            _end("{}: {}".format(type(error).__name__, error))
    _chain()


def _chain() -> None:
    """Run the `sitecustomize` that would have been found without this one."""
    import importlib.machinery
    import importlib.util

    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_start()
