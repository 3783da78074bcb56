"""`chex-search export`: the best network as a bundle that others can run, its model card, its ONNX graph. May import
config and the rooms below it.
"""
