"""Tools that a model may call: their definitions, the calls in its answers, and who decides about each of them. Pure."""
