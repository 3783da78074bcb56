"""The 14 observations and their labels, strict config classes, the YAML dialect, `--set` overrides, and the sentences
that explain a wrong config. Imports only chex.errors.
"""
