"""Many runs: a space of RunConfigs searched with Ray Tune for the best validation AUROC."""
