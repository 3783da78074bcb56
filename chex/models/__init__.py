"""The network: timm backbone and head, pretrained weights, loss, EMA, checkpoints, inference, Grad-CAM. May import
cohort and the rooms below it.
"""
