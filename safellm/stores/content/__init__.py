"""Content of calls, kept beside the trail and sealed to a key that this machine does not have."""
