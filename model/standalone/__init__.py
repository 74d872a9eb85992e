"""Kindling's own runtime library: what a compiled model needs of libtorch besides kernels, so that it runs without it.

library.py    builds it, and tells what a program lacks with it
tensor.h      a tensor: bytes that may be shared, sizes, strides, offset
tensor.cpp    the arithmetic of sizes and strides
tensors.cpp   torch's C shim: tensors made, viewed, copied and deleted
facts.cpp     torch's C shim: what a tensor is, the numbers of dtypes, single elements
vectors.cpp   Sleef's functions of whole vectors
"""
