"""One run: trains and scores a classifier on a CheXpert tree. Works without ray, optuna and the package search.

Docstrings give the axes of an array by letters:

N  images of a table or of an image array      V  validation images
T  images that a run may train on              M  training rows, such as those sampled for a phase
U  units that are scored: images or studies    K  observations that a run learns
B  images in a batch                           H, W  height and width of an image in pixels
D  draws: bootstrap resamples of patients      P  patients
R  reports, or classifiers in general          C  classes of a policy's output

A cell is one label: one image, one observation. A label array has the codes of chex.schema.labels: 1 positive,
0 negative, -1 uncertain, -2 blank. A truth array, which is what is scored, has 1, 0, or NaN for a cell that is not.
"""
