"""The metadata forest: a random forest that predicts uncertain labels from a row's other columns, and its report. May
import uncertainty and the folders below it.
"""
