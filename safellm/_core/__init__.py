"""Pure decisions: no I/O, clock, randomness, environment, threads or logging. Private: import nothing from here."""
