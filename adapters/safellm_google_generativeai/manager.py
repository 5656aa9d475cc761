"""The SDK's one configuration per process, guarded: every client that it makes speaks REST through our shell.

What differs from the SDK, and why:
* gRPC and its async form don't pass through anything that could be guarded: `transport=` is accepted, and REST is used.
* Async calls run on sync clients in worker threads.
* A key from the vault or a variable is managed: the SDK holds a placeholder (THREATS K.4).
* An address counts if it is Google's own, or given in code; `GOOGLE_CLOUD_UNIVERSE_DOMAIN` and its like don't move a key (E.1).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from google.api_core import client_options as client_options_lib

from google.generativeai import client as sdk
from google.generativeai import version
from safellm._core.origin import make_origin
from safellm.errors import ConfigurationError
from safellm_google_genai.adapter import GEMINI
from safellm_google_generativeai import ADAPTER
from safellm_google_generativeai.errors import native_error
from safellm_google_generativeai.faces import AsyncFace
from safellm_google_generativeai.told import tell
from safellm_google_generativeai.uploads import uploader

if TYPE_CHECKING:
    from safellm.client import Setup

_KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")  # in the order of this SDK
_ASYNC = "_async"
_OPERATIONS = "operations_client"


class GuardedManager(sdk._ClientManager):  # noqa: SLF001 - where the SDK makes its clients
    """Makes guarded clients. Replaces the SDK's manager, so that plain imports of the SDK in this process are guarded too."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: Mapping[str, object] | None = None
        self._setup: Setup | None = None
        self._in_code = False

    def configure(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        """Take the SDK's settings, and policy values."""
        from safellm.client import prepare  # noqa: PLC0415 - the guard's modules load when it is configured

        setup = prepare(ADAPTER, safellm, sdk=f"google-generativeai {version.__version__}")
        given = options.get("client_options")
        chosen = client_options_lib.from_dict(given) if isinstance(given, dict) else given
        options["client_options"] = chosen = chosen or client_options_lib.ClientOptions()
        setup.take_grant(options, "api_key")
        if (
            options.get("api_key") is None
            and not getattr(chosen, "api_key", None)
            and options.get("credentials") is None
        ):
            variable = next((name for name in _KEY_VARIABLES if setup.environ.get(name)), _KEY_VARIABLES[1])
            options["api_key"] = setup.manage("google", variable, default_origins=(GEMINI,))
        elif setup.grant is not None or setup.environ.get("SAFELLM_GRANT"):
            setup.refuse_own_key()
        elif setup.policy.is_strict and options.get("credentials") is None:
            raise ConfigurationError(
                "Strict mode takes no key from code", remedy="Store it: safellm keys set google, and leave api_key out."
            )
        self._in_code = bool(getattr(chosen, "api_endpoint", None) or getattr(chosen, "universe_domain", None))
        # It lives as long as the process, and holds the keys where it manages them: not among the variables too (K.4).
        setup.environ = {name: value for name, value in setup.environ.items() if name not in _KEY_VARIABLES}
        self._setup = setup
        super().configure(**{**options, "transport": "rest"})

    def make_client(self, name: str) -> Any:
        """Return a guarded client."""
        if not self.client_config:
            self.configure()
        client: Any = super().make_client(name.removesuffix(_ASYNC))  # type: ignore[no-untyped-call]  # untyped in the SDK
        self._guard(client)
        if name.removesuffix(_ASYNC) == "file":
            client.create_file = uploader(client)
        if hasattr(client, "stream_generate_content"):
            tell(client)
        return AsyncFace(client) if name.endswith(_ASYNC) else client

    def _guard(self, client: Any) -> None:
        from safellm.transports.requests import guard_session  # noqa: PLC0415

        setup, transport = self._setup, client._transport  # noqa: SLF001 - the SDK's REST transport
        session = getattr(transport, "_session", None)
        if setup is None or session is None or transport.kind != "rest":
            raise ConfigurationError(
                f"google-generativeai {version.__version__} doesn't speak REST as it is told to",
                remedy="Use a version that safellm names as supported.",
            )
        parts = urlsplit(transport._host)  # noqa: SLF001
        driver = setup.driver(
            make_origin(parts.scheme, parts.hostname or "", parts.port), in_code=self._in_code, native=native_error
        )
        driver.raises = True
        guard_session(session, driver)
        if _OPERATIONS in vars(type(transport)):  # it asks for them with a session of its own
            guard_session(getattr(transport, _OPERATIONS)._transport._session, driver)  # noqa: SLF001


MANAGER = GuardedManager()


def install() -> None:
    """Put the guarded manager in the place of the SDK's; done once."""
    sdk._client_manager = MANAGER  # noqa: SLF001 - every function of the SDK looks it up there
