"""What a running search shows: live table, status, lists, logs, TensorBoard. May import analysis and the rooms below
it; never ray.
"""
