"""`chex train` and what belongs to it: a run's data, the training loop as a generator of reports, resume, `auto`
settings, the learning rate finder, the teacher of self_trained. May import all folders but evaluation's commands.
"""
