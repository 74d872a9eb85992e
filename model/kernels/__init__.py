"""Convolutions, matrix products and attention of our own, for compiled models that run without libtorch.

convolution.h  what they are, in C++, and how the taps of a pixel are found
dense.cpp      convolutions of all channels by all, and matrix products
depthwise.cpp  convolutions of each channel by itself
attention.h    scaled dot product attention
attention.cpp  as two matrix products of each head
shims.cpp      what Inductor calls
operators.py   the same for PyTorch: operators with packed weights
layer.py       one layer of a graph, with what its operator computes besides
expansion.py   two layers of a graph that become one operator
rewrite.py     a graph with these operators in the place of PyTorch's
"""
