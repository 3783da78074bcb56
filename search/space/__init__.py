"""Defines what a search varies: parameters named by RunConfig's dotted paths, with domains, conditions, constraints and
initial points. May import chex and no other room of search.
"""
