"""The page and the last screen of a search, and their charts. May import monitor and the rooms below it; never ray."""
