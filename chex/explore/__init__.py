"""`chex explore`: a page about what a CheXpert tree holds, and what is wrong in it. May import uncertainty, data and
reporting.
"""
