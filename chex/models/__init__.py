"""The network: timm backbone and head, pretrained weights, loss, EMA of the weights, checkpoints, inference. May import
cohort and the folders below it.
"""
