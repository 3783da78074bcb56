"""`chex phantom`: a synthetic CheXpert tree of drawn chests with planted truth, for demos and tests. May import
runtime and schema.
"""
