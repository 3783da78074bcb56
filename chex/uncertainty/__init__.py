"""Policies: how an uncertain label (-1) becomes a target of the loss, and the probability tables that some policies
read. Pure functions of arrays. May import data and the folders below it.
"""
