"""Handles Ray itself: a session on this machine or on a cluster, its nodes, preemption, and `auto` settings resolved on
a node. May import config and the rooms below it.
"""
