"""All of `anthropic`, with guarded clients: `import safellm.anthropic as anthropic`.

Classes, errors, types and helpers are the SDK's own objects, and so are the clients that are made: of the SDK's own class, with
guarded transports.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any as _Any

from safellm.errors import ConfigurationError as _ConfigurationError

try:
    import anthropic as _anthropic
except ModuleNotFoundError:
    raise _ConfigurationError(
        "The SDK anthropic is not installed", remedy="Run: pip install 'safellm[anthropic]'"
    ) from None

# The public face of the SDK: spelt out for type checkers, taken as it is by the interpreter, whatever the SDK's version.
if TYPE_CHECKING:
    from anthropic import DEFAULT_CONNECTION_LIMITS as DEFAULT_CONNECTION_LIMITS
    from anthropic import DEFAULT_MAX_RETRIES as DEFAULT_MAX_RETRIES
    from anthropic import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
    from anthropic import NOT_GIVEN as NOT_GIVEN
    from anthropic import AccessToken as AccessToken
    from anthropic import AccessTokenAuth as AccessTokenAuth
    from anthropic import AccessTokenProvider as AccessTokenProvider
    from anthropic import AnthropicError as AnthropicError
    from anthropic import APIConnectionError as APIConnectionError
    from anthropic import APIError as APIError
    from anthropic import APIRequest as APIRequest
    from anthropic import APIResponse as APIResponse
    from anthropic import APIResponseValidationError as APIResponseValidationError
    from anthropic import APIStatusError as APIStatusError
    from anthropic import APITimeoutError as APITimeoutError
    from anthropic import APIWebhookValidationError as APIWebhookValidationError
    from anthropic import AsyncAccessTokenProvider as AsyncAccessTokenProvider
    from anthropic import AsyncAPIResponse as AsyncAPIResponse
    from anthropic import AsyncCallNext as AsyncCallNext
    from anthropic import AsyncMessageStream as AsyncMessageStream
    from anthropic import AsyncMessageStreamManager as AsyncMessageStreamManager
    from anthropic import AsyncMiddlewareCallable as AsyncMiddlewareCallable
    from anthropic import AsyncStream as AsyncStream
    from anthropic import AuthenticationError as AuthenticationError
    from anthropic import BadRequestError as BadRequestError
    from anthropic import BaseModel as BaseModel
    from anthropic import BaseURLBoundProvider as BaseURLBoundProvider
    from anthropic import BetaAsyncMessageStream as BetaAsyncMessageStream
    from anthropic import BetaAsyncMessageStreamManager as BetaAsyncMessageStreamManager
    from anthropic import BetaContentBlockStopEvent as BetaContentBlockStopEvent
    from anthropic import BetaFallbackState as BetaFallbackState
    from anthropic import BetaInputJsonEvent as BetaInputJsonEvent
    from anthropic import BetaMessageStopEvent as BetaMessageStopEvent
    from anthropic import BetaMessageStream as BetaMessageStream
    from anthropic import BetaMessageStreamEvent as BetaMessageStreamEvent
    from anthropic import BetaMessageStreamManager as BetaMessageStreamManager
    from anthropic import BetaRefusalFallbackMiddleware as BetaRefusalFallbackMiddleware
    from anthropic import BetaTextEvent as BetaTextEvent
    from anthropic import CallNext as CallNext
    from anthropic import ClaudeCodeKeyCreatorNotMemberError as ClaudeCodeKeyCreatorNotMemberError
    from anthropic import ClaudeCodeVersionTooOldError as ClaudeCodeVersionTooOldError
    from anthropic import ClientClosedRequestError as ClientClosedRequestError
    from anthropic import CMEKContextUnavailableError as CMEKContextUnavailableError
    from anthropic import CMEKKeyDisabledError as CMEKKeyDisabledError
    from anthropic import CMEKKeyNetworkBlockedError as CMEKKeyNetworkBlockedError
    from anthropic import CMEKKeyUnreachableError as CMEKKeyUnreachableError
    from anthropic import ConflictError as ConflictError
    from anthropic import ContentBlockStopEvent as ContentBlockStopEvent
    from anthropic import ContentTooLargeError as ContentTooLargeError
    from anthropic import ContractSpendLimitReachedError as ContractSpendLimitReachedError
    from anthropic import CredentialResult as CredentialResult
    from anthropic import CredentialsError as CredentialsError
    from anthropic import CredentialsFile as CredentialsFile
    from anthropic import DeadlineExceededError as DeadlineExceededError
    from anthropic import DefaultAioHttpClient as DefaultAioHttpClient
    from anthropic import DefaultAsyncHttpxClient as DefaultAsyncHttpxClient
    from anthropic import DefaultHttpxClient as DefaultHttpxClient
    from anthropic import EnforcedSpendLimitReachedError as EnforcedSpendLimitReachedError
    from anthropic import EnvToken as EnvToken
    from anthropic import GatewayTimeoutError as GatewayTimeoutError
    from anthropic import HTTPNotImplementedError as HTTPNotImplementedError
    from anthropic import IdentityTokenFile as IdentityTokenFile
    from anthropic import IdentityTokenFileError as IdentityTokenFileError
    from anthropic import IdentityTokenProvider as IdentityTokenProvider
    from anthropic import InMemoryConfig as InMemoryConfig
    from anthropic import InputJsonEvent as InputJsonEvent
    from anthropic import InternalServerError as InternalServerError
    from anthropic import LinkedOrganizationBillingUnavailableError as LinkedOrganizationBillingUnavailableError
    from anthropic import LinkedOrganizationSpendLimitReachedError as LinkedOrganizationSpendLimitReachedError
    from anthropic import MessageStopEvent as MessageStopEvent
    from anthropic import MessageStream as MessageStream
    from anthropic import MessageStreamEvent as MessageStreamEvent
    from anthropic import MessageStreamManager as MessageStreamManager
    from anthropic import Middleware as Middleware
    from anthropic import MiddlewareCallable as MiddlewareCallable
    from anthropic import MiddlewareInput as MiddlewareInput
    from anthropic import NoneType as NoneType
    from anthropic import NotFoundError as NotFoundError
    from anthropic import NotGiven as NotGiven
    from anthropic import Omit as Omit
    from anthropic import OpenTelemetryClientOption as OpenTelemetryClientOption
    from anthropic import OpenTelemetryOptions as OpenTelemetryOptions
    from anthropic import OpenTelemetryTraces as OpenTelemetryTraces
    from anthropic import OrganizationOnHoldError as OrganizationOnHoldError
    from anthropic import OrganizationTypeNotSupportedError as OrganizationTypeNotSupportedError
    from anthropic import OverloadedError as OverloadedError
    from anthropic import ParentOrganizationRequiredError as ParentOrganizationRequiredError
    from anthropic import ParsedBetaContentBlockStopEvent as ParsedBetaContentBlockStopEvent
    from anthropic import ParsedBetaMessageStopEvent as ParsedBetaMessageStopEvent
    from anthropic import ParsedBetaMessageStreamEvent as ParsedBetaMessageStreamEvent
    from anthropic import ParsedBetaTextEvent as ParsedBetaTextEvent
    from anthropic import ParsedContentBlockStopEvent as ParsedContentBlockStopEvent
    from anthropic import ParsedMessageStopEvent as ParsedMessageStopEvent
    from anthropic import ParsedMessageStreamEvent as ParsedMessageStreamEvent
    from anthropic import PaymentRequiredError as PaymentRequiredError
    from anthropic import PermissionDeniedError as PermissionDeniedError
    from anthropic import PreconditionFailedError as PreconditionFailedError
    from anthropic import RampLimitExceededError as RampLimitExceededError
    from anthropic import RateLimitError as RateLimitError
    from anthropic import RequestBodyEncodingInvalidError as RequestBodyEncodingInvalidError
    from anthropic import RequestBodyEncodingUnsupportedError as RequestBodyEncodingUnsupportedError
    from anthropic import RequestBodyTooLargeAfterDecodingError as RequestBodyTooLargeAfterDecodingError
    from anthropic import RequestHeaderFieldsTooLargeError as RequestHeaderFieldsTooLargeError
    from anthropic import RequestOptions as RequestOptions
    from anthropic import RequestTimeoutError as RequestTimeoutError
    from anthropic import RequestTooLargeError as RequestTooLargeError
    from anthropic import ResolvedOpenTelemetryOptions as ResolvedOpenTelemetryOptions
    from anthropic import ResolvedOpenTelemetryTraces as ResolvedOpenTelemetryTraces
    from anthropic import RetryableError as RetryableError
    from anthropic import SandboxEgressRestrictedError as SandboxEgressRestrictedError
    from anthropic import ServiceUnavailableError as ServiceUnavailableError
    from anthropic import StaticToken as StaticToken
    from anthropic import Stream as Stream
    from anthropic import TextEvent as TextEvent
    from anthropic import Timeout as Timeout
    from anthropic import TokenCache as TokenCache
    from anthropic import UnprocessableEntityError as UnprocessableEntityError
    from anthropic import WorkloadIdentityCredentials as WorkloadIdentityCredentials
    from anthropic import WorkloadIdentityError as WorkloadIdentityError
    from anthropic import beta_async_tool as beta_async_tool
    from anthropic import beta_tool as beta_tool
    from anthropic import default_credentials as default_credentials
    from anthropic import exchange_federation_assertion as exchange_federation_assertion
    from anthropic import file_from_path as file_from_path
    from anthropic import not_given as not_given
    from anthropic import omit as omit
    from anthropic import transform_schema as transform_schema
    from anthropic import types as types
else:
    _modules = type(_anthropic)  # `__getattr__` below finds these
    globals().update(
        {
            name: value
            for name, value in vars(_anthropic).items()
            if not name.startswith("_") and (name == "types" or type(value) is not _modules)
        }
    )

from safellm.attribute import attach as _attach
from safellm.submodules import mirror as _mirror
from safellm_anthropic.clients import Anthropic as Anthropic
from safellm_anthropic.clients import AnthropicAWS as AnthropicAWS
from safellm_anthropic.clients import AnthropicBedrock as AnthropicBedrock
from safellm_anthropic.clients import AnthropicBedrockMantle as AnthropicBedrockMantle
from safellm_anthropic.clients import AnthropicFoundry as AnthropicFoundry
from safellm_anthropic.clients import AnthropicGoogleCloud as AnthropicGoogleCloud
from safellm_anthropic.clients import AnthropicVertex as AnthropicVertex
from safellm_anthropic.clients import AsyncAnthropic as AsyncAnthropic
from safellm_anthropic.clients import AsyncAnthropicAWS as AsyncAnthropicAWS
from safellm_anthropic.clients import AsyncAnthropicBedrock as AsyncAnthropicBedrock
from safellm_anthropic.clients import AsyncAnthropicBedrockMantle as AsyncAnthropicBedrockMantle
from safellm_anthropic.clients import AsyncAnthropicFoundry as AsyncAnthropicFoundry
from safellm_anthropic.clients import AsyncAnthropicGoogleCloud as AsyncAnthropicGoogleCloud
from safellm_anthropic.clients import AsyncAnthropicVertex as AsyncAnthropicVertex

Client = Anthropic
AsyncClient = AsyncAnthropic
_attach("anthropic")
_guarded = _mirror(globals(), _anthropic)


def __getattr__(name: str) -> _Any:
    return _guarded(getattr(_anthropic, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_anthropic)})
