"""How results look: self-contained HTML pages, one plot style, and the console. Knows nothing about CheXpert. May
import runtime and schema.
"""
