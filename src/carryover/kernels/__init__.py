"""Fast versions of single computations: in C, by PyTorch's fused operators, or with backward passes written by hand.

A kernel takes tensors and small named tuples, never a layer, and gives what the plain loop of the layer gives, which is what it is
tested against. A layer gathers its tensors, asks a kernel whether it `fits`, and runs it. The C sources are in `c/`; `c_library`
compiles them when they are first needed.
"""
