"""What to try next and what to prune: pure functions of history and seed. May import space."""
