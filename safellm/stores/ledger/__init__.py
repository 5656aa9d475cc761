"""What was spent, and what is held."""
