"""`chex-search cluster`: starts a Ray cluster of VMs, submits searches to it and fetches results. May import config and
the rooms below it.
"""
