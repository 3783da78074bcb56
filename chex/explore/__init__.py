"""What a CheXpert tree holds, on one page: counts, doubts and films, before anything is trained on it."""
