"""From a CheXpert tree to batches on the device: tables as checked arrays, decoded images in one memory-mapped array,
augmentation. May import runtime and schema.
"""
