"""What language models look like in code: classes that call them, packages that hold those, hosts that answer."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import cache
from typing import Final

# Classes and functions of SDKs, by qualified name; `*` stands for any letters.
CLIENTS: Final = (
    "openai.OpenAI", "openai.AsyncOpenAI", "openai.Client", "openai.AsyncClient", "openai.*AzureOpenAI", "openai.*BedrockOpenAI",
    "openai.lib.azure.*AzureOpenAI", "openai.chat.completions.*", "openai.responses.*", "openai.completions.create",
    "openai.embeddings.create", "openai.ChatCompletion.*", "openai.Completion.*", "openai.Embedding.*",
    "anthropic.Anthropic*", "anthropic.AsyncAnthropic*", "anthropic.Client", "anthropic.AsyncClient",
    "google.genai.Client", "google.generativeai.GenerativeModel", "google.generativeai.configure",
    "google.generativeai.embed_content", "vertexai.init", "vertexai.generative_models.GenerativeModel",
    "vertexai.preview.generative_models.GenerativeModel", "mistralai.Mistral", "mistralai.client.MistralClient",
    "cohere.Client*", "cohere.AsyncClient*", "groq.Groq", "groq.AsyncGroq", "together.Together", "together.AsyncTogether",
    "fireworks.client.*", "ollama.chat", "ollama.generate", "ollama.embed*", "ollama.Client", "ollama.AsyncClient",
    "replicate.run", "replicate.Client", "cerebras.cloud.sdk.*Cerebras", "zhipuai.ZhipuAI", "ai21.AI21Client",
    "huggingface_hub.InferenceClient", "huggingface_hub.AsyncInferenceClient", "voyageai.Client", "llama_cpp.Llama",
)  # fmt: skip

# The same for frameworks: they are guarded when a client of safellm is among the arguments.
FRAMEWORKS: Final = (
    "langchain_openai.*ChatOpenAI", "langchain_openai.*OpenAI", "langchain_openai.*OpenAIEmbeddings", "langchain_openai.*.*OpenAI*",
    "langchain.chat_models.*", "langchain.llms.*", "langchain_community.chat_models.*", "langchain_community.llms.*",
    "langchain_anthropic.ChatAnthropic", "langchain_google_genai.*", "langchain_google_vertexai.*", "langchain_mistralai.*",
    "langchain_groq.*", "langchain_ollama.*", "langchain_aws.*", "llama_index.llms.*.*", "llama_index.embeddings.*.*",
    "instructor.from_*", "instructor.patch", "pydantic_ai.Agent", "pydantic_ai.models.*.*Model",
    "pydantic_ai.providers.*.*Provider",
    "agents.Agent", "agents.OpenAI*Model", "dspy.LM", "dspy.OpenAI", "dspy.Embedder", "litellm.completion", "litellm.acompletion",
    "litellm.embedding", "litellm.aembedding", "litellm.responses", "litellm.aresponses", "litellm.text_completion",
    "litellm.image_generation", "litellm.Router", "crewai.LLM", "crewai.Agent", "autogen.ConversableAgent",
    "autogen_ext.models.*.*ChatCompletionClient", "smolagents.*Model", "haystack.components.generators.*", "guidance.models.*",
    "semantic_kernel.connectors.ai.*", "marvin.*", "outlines.from_*", "outlines.models.*", "phi.model.*", "agno.models.*",
    "ragas.llms.*", "mem0.Memory",
)  # fmt: skip

# Import packages of the above; the longest that matches is the SDK.
PACKAGES: Final = (
    "openai", "anthropic", "google.genai", "google.generativeai", "vertexai", "mistralai", "cohere", "groq", "together",
    "fireworks", "ollama", "replicate", "cerebras", "zhipuai", "ai21", "huggingface_hub", "voyageai", "llama_cpp",
    "langchain_openai", "langchain_anthropic", "langchain_google_genai", "langchain_google_vertexai", "langchain_mistralai",
    "langchain_groq", "langchain_ollama", "langchain_aws", "langchain_community.chat_models", "langchain_community.llms",
    "langchain.chat_models", "langchain.llms", "llama_index", "instructor", "pydantic_ai", "agents", "dspy", "litellm", "crewai",
    "autogen", "autogen_ext", "smolagents", "haystack", "guidance", "semantic_kernel", "marvin", "outlines", "phi", "agno", "mem0",
)  # fmt: skip

# A package of this import name that isn't an SDK stands in many trees; alone it is no sign.
WEAK_PACKAGES: Final = frozenset({"agents", "phi", "huggingface_hub", "guidance", "together"})

# Distributions, by ecosystem; compared in lower case, with `-` for `_` in Python's.
DISTRIBUTIONS: Final = {
    "python": frozenset({
        "openai", "anthropic", "google-genai", "google-generativeai", "google-cloud-aiplatform", "mistralai", "cohere", "groq",
        "together", "fireworks-ai", "ollama", "replicate", "cerebras-cloud-sdk", "zhipuai", "ai21", "voyageai", "llama-cpp-python",
        "langchain-openai", "langchain-anthropic", "langchain-google-genai", "langchain-google-vertexai", "langchain-mistralai",
        "langchain-groq", "langchain-ollama", "langchain-aws", "langchain-community", "llama-index", "llama-index-llms-openai",
        "instructor", "pydantic-ai", "pydantic-ai-slim", "openai-agents", "dspy", "dspy-ai", "litellm", "crewai", "autogen-ext",
        "pyautogen", "smolagents", "haystack-ai", "guidance", "semantic-kernel", "marvin", "outlines", "agno", "mem0ai",
    }),
    "npm": frozenset({
        "openai", "@openai/agents", "@anthropic-ai/sdk", "@anthropic-ai/bedrock-sdk", "@anthropic-ai/vertex-sdk", "@google/genai",
        "@google/generative-ai", "@google-cloud/vertexai", "@mistralai/mistralai", "cohere-ai", "groq-sdk", "together-ai", "ollama",
        "replicate", "ai", "@ai-sdk/openai", "@ai-sdk/anthropic", "@ai-sdk/google", "@ai-sdk/azure", "@langchain/openai",
        "@langchain/anthropic", "@langchain/google-genai", "@aws-sdk/client-bedrock-runtime", "@azure/openai", "llamaindex",
        "@huggingface/inference", "@openrouter/ai-sdk-provider",
    }),
    "go": frozenset({
        "github.com/openai/openai-go", "github.com/sashabaranov/go-openai", "github.com/anthropics/anthropic-sdk-go",
        "google.golang.org/genai", "github.com/google/generative-ai-go", "github.com/tmc/langchaingo", "github.com/ollama/ollama",
        "github.com/cohere-ai/cohere-go",
    }),
    "other": frozenset({
        "com.openai:openai-java", "com.anthropic:anthropic-java", "com.google.genai:google-genai", "dev.langchain4j",
        "org.springframework.ai", "com.theokanning.openai-gpt3-java", "com.azure:azure-ai-openai", "async-openai", "ruby-openai",
        "anthropic-sdk", "openai-php/client", "betalgo.openai", "azure.ai.openai", "microsoft.semantickernel", "genai",
    }),
}  # fmt: skip

# How clients are made in other languages; comments are not told apart.
_SCRIPT: Final = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte")
_JVM: Final = (".java", ".kt", ".scala", ".groovy")
_NEW: Final = (
    "OpenAI", "AzureOpenAI", "Anthropic", "AnthropicBedrock", "AnthropicVertex", "GoogleGenAI", "GoogleGenerativeAI", "VertexAI",
    "Mistral", "Groq", "Together", "CohereClient", "CohereClientV2", "Ollama", "Replicate", "BedrockRuntimeClient", "HfInference",
    "InferenceClient",
)  # fmt: skip
_NEW_CHAT: Final = (
    "ChatOpenAI", "ChatAnthropic", "ChatGoogleGenerativeAI", "ChatVertexAI", "ChatMistralAI", "ChatGroq", "ChatOllama",
    "OpenAIEmbeddings",
)  # fmt: skip
_CREATE: Final = ("OpenAI", "Anthropic", "GoogleGenerativeAI", "Azure", "OpenRouter", "Groq", "Mistral")
_NPM: Final = (
    r"openai", r"@anthropic-ai/[\w-]+", r"@google/gen(?:ai|erative-ai)", r"@ai-sdk/[\w-]+", r"groq-sdk", r"cohere-ai", r"ollama",
    r"@langchain/(?:openai|anthropic|google-genai)", r"@mistralai/mistralai",
)  # fmt: skip
_GO: Final = (
    r"github\.com/(?:openai/openai-go|sashabaranov/go-openai|anthropics/anthropic-sdk-go|tmc/langchaingo)",
    r"github\.com/google/generative-ai-go", r"google\.golang\.org/genai",
)  # fmt: skip
_JVM_CLASSES: Final = (
    r"(?:OpenAI|Anthropic)OkHttpClient(?:Async)?", "OpenAIClientBuilder", "OpenAiService", r"OpenAi(?:Streaming)?ChatModel",
    "AnthropicChatModel", "VertexAiGeminiChatModel", "GoogleAiGeminiChatModel", r"BedrockRuntime(?:Async)?Client",
)  # fmt: skip
_JVM_PACKAGES: Final = (
    r"com\.openai", r"com\.anthropic", r"com\.google\.genai", r"dev\.langchain4j", r"com\.azure\.ai\.openai",
    r"org\.springframework\.ai",
)  # fmt: skip
_NET: Final = r"(?:Azure)?OpenAIClient|ChatClient|AnthropicClient|OpenAIService|AmazonBedrockRuntimeClient"
_R: Final = r"(?:ellmer::)?chat_(?:openai|anthropic|claude|google_gemini|azure_openai|ollama)|openai::create_\w+"

# Suffixes of files, kind of finding, pattern whose first group is what was found.
PATTERNS: Final = (
    (_SCRIPT, "client", rf"\bnew\s+({'|'.join(_NEW)})\s*\("),
    (_SCRIPT, "framework", rf"\bnew\s+({'|'.join(_NEW_CHAT)})\s*\("),
    (_SCRIPT, "framework", rf"\b(create(?:{'|'.join(_CREATE)}))\s*\("),
    (_SCRIPT, "import", rf"""(?:from|require\(|import)\s*\(?['"]({"|".join(_NPM)})['"/]"""),
    ((".go",), "client", r"\b((?:openai|anthropic|genai|cohere)\.New(?:Client(?:WithConfig)?)?)\s*\("),
    ((".go",), "import", rf'"({"|".join(_GO)})'),
    (_JVM, "client", rf"\b({'|'.join(_JVM_CLASSES)})\b(?=\s*[.(])"),
    (_JVM, "import", rf"\bimport\s+({'|'.join(_JVM_PACKAGES)})\b"),
    ((".cs", ".fs", ".vb"), "client", rf"\bnew\s+({_NET})\s*\("),
    ((".rb",), "client", r"\b((?:OpenAI|Anthropic|Cohere)::Client)\.new\b"),
    ((".rs",), "client", r"\b(async_openai::Client|anthropic(?:_sdk)?::Client|genai::Client)\b"),
    ((".php",), "client", r"\b(OpenAI::(?:client|factory)|Anthropic::(?:client|factory))\s*\("),
    ((".swift",), "client", r"\b(OpenAI|AnthropicServiceFactory)\s*\(\s*(?:apiToken|configuration|apiKey)"),
    ((".r", ".rmd", ".qmd"), "client", rf"\b({_R})\s*\("),
    ((".sh", ".bash", ".zsh"), "client", r"\b((?:openai|ollama|llm)\s+(?:api|run|chat))\b"),
)


@cache
def matcher(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for qualified names; `*` stands for letters, digits and underscores."""
    return re.compile("|".join(re.escape(one).replace(r"\*", r"\w*") for one in names))


@cache
def host_pattern() -> re.Pattern[str]:
    """Return a pattern that finds the hosts of language models in text."""
    from safellm.auto.table import DIALECTS  # noqa: PLC0415 - only a search needs it
    from safellm.profiles import profiles  # noqa: PLC0415

    hosts = {host for one in DIALECTS for host in one.hosts}
    hosts |= {origin.host for one in profiles().values() for origin in one.origins if not origin.is_loopback}
    written = "|".join(
        sorted((re.escape(one).replace(r"\*", r"[A-Za-z0-9{}$_<>-]+") for one in hosts), key=len, reverse=True)
    )
    return re.compile(rf"(?<![A-Za-z0-9.-])(?:{written})(?![A-Za-z0-9-]|\.[A-Za-z0-9])", re.IGNORECASE)


def package_of(module: str) -> str | None:
    """Return the SDK that an imported module belongs to."""
    fitting = [one for one in PACKAGES if module == one or module.startswith(f"{one}.")]
    return max(fitting, key=len, default=None)
