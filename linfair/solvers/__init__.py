"""Optimal linear classifiers: closed forms, convex programs with certificates, direct solvers, the frontier
of the class risks, local search.

Each module imports on its own, and none loads cvxpy before a convex program is solved.
"""
