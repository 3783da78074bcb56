"""Files of a search outside its own folder: buckets, zip archives, staged datasets, shared image caches, synced
folders, leases. May import trials.
"""
