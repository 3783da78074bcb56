"""`chex evaluate` and `chex predict`: trained weights on labelled and on new images, Grad-CAM, the page of an
evaluation, and the bundle that `chex-search export` writes. May import config and the rooms below it.
"""
