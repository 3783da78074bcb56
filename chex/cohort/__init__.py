"""Which patients and images take part: the split by patient, the training sample, and which patients weights have seen.
May import uncertainty and the folders below it.
"""
