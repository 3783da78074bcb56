"""The process and its machine: atomic files, output folders, devices, GPU memory, CPUs, random number streams and
signals. Knows nothing about labels or models. May import schema.
"""
