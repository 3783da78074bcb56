"""`chex evaluate` and `chex predict`: score weights on labelled images and predict new ones, with Grad-CAM, the page of
an evaluation, and the bundle that `chex-search export` writes. May import config and the folders below it.
"""
