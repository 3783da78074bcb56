"""Writes the page and the last screen of a search. May import monitor and the rooms below it; never ray."""
