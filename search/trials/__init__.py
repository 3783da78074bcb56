"""Keeps the trials of a search and the files of its folder: records, the Optuna study, predictions, artifacts. May
import space.
"""
