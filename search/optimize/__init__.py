"""Decides which trial comes next and which is pruned: pure functions of history and seed. May import space."""
