"""Searches over many runs for the best hyperparameters and policies, with Ray Tune and Optuna. May import chex."""
