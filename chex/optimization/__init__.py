"""The optimizer, a learning rate per layer group, the schedule, and the phases of a run. May import schema."""
