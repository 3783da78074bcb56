"""`chex-search plan`: shows the cost of a search before it starts. May import config and the rooms below it."""
