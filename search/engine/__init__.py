"""Runs a search: the controller (which does not use Ray), the bridge to Ray Tune, the trainable, `run`, `resume`,
`extend`, `confirm`. May import ray_nodes, monitor and the rooms below them.
"""
