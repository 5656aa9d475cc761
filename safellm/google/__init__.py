"""Google's SDKs, guarded: `from safellm.google import genai`, or `import safellm.google.generativeai as genai`."""

# SPDX-License-Identifier: Apache-2.0
