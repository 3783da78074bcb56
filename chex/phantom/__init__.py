"""A synthetic CheXpert tree with known truth: the project's own data for demonstrations and tests."""
