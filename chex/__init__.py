"""One run: from a CheXpert tree and a RunConfig to reports, weights and predictions."""
