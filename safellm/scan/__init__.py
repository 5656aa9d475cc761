"""`safellm scan`: secrets where they leak: source, notebooks with their outputs, settings, shell history, logs, git history.

The engine and the rules are those that look at requests. Nothing is sent anywhere, and no report holds a secret.
"""
