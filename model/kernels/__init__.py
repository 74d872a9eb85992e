"""Convolutions and matrix products of our own, for compiled models that run without libtorch.

kernels.cpp    what they compute, built into the artifact's runtime library
operators.py   the same for PyTorch: operators with packed weights
layer.py       one layer of a graph, with what its operator computes besides
expansion.py   two layers of a graph that become one operator
rewrite.py     a graph with these operators in the place of PyTorch's
"""
