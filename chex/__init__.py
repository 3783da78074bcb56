"""One run: trains and scores a classifier on a CheXpert tree. Works without ray, optuna and the package search.

Docstrings give the axes of an array by letters:

N  images of a table or of an image array      V  validation images
T  images that a run may train on              M  rows sampled from them for a phase
U  units that are scored: images or studies    K  observations that a run learns
B  images in a batch                           H, W  height and width of an image in pixels
D  draws: bootstrap resamples of patients      P  patients
R  reports, or classifiers in general          C  classes of a policy's output

Targets have two arrays of one shape: the value that the loss sees, and its weight (0: the cell is ignored).
"""
