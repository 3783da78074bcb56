"""Analyses what the trials prove: the winner's AUROC corrected for selection, comparisons of values, ensembles,
importances and the verdict. Pure functions of predictions and records; importing them loads neither ray nor torch.
"""
