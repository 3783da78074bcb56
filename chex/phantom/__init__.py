"""`chex phantom`: a synthetic CheXpert tree of drawn chests whose true labels are known, for demos and tests. May
import runtime and schema.
"""
