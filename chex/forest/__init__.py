"""The metadata forest: a random forest that guesses uncertain labels from a row's other columns, and its report. May
import uncertainty and the rooms below it.
"""
