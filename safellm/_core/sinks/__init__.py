"""Sinks: text on its way into another language, escaped for exactly that language. One function for each context."""
