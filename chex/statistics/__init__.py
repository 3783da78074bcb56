"""Statistics of probabilities against labels: metrics, intervals, DeLong's influences, the bootstrap, thresholds. Pure
functions of arrays. Imports no other folder.
"""
