"""`chex explore`: a page about what a CheXpert tree contains and what is wrong with it. May import uncertainty, data
and reporting.
"""
