"""The network: timm backbone and head, pretrained weights, loss, EMA, checkpoints, inference. May import cohort and the
rooms below it.
"""
