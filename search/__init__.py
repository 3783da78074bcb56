"""Many runs: searches hyperparameters and uncertainty policies with Ray Tune and Optuna. May import chex."""
