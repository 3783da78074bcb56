"""The configuration of a search: SearchConfig, resources and budget, and how a search's folder is loaded. May import
storage and the rooms below it.
"""
