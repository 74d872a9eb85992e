"""From a PyTorch model to an artifact that the service can run.

artifact.py   what an artifact is; the only file here that the service imports
catalog.py    names -> modules: the default model, torchvision's, your own
weights.py    a file of weights -> a module
contract.py   your own module: tensors in by position, tensors out, a name for each
compiling.py  which programs to compile for AOTInductor, with libtorch or without it
export.py     the steps of one export: module -> candidates -> parity -> measurement -> artifact
lower.py      module -> compiled library (AOTInductor) or graph (ONNX)
padding.py    a graph rewrite: zero padding becomes part of the convolution behind it
selection.py  which way to run it is best, and the evidence for that
parity.py     the answers of eager PyTorch, and how far an engine's may be from them
precision.py  a model in bfloat16
cpus.py       CPU baselines to compile for
measure.py    runs the service's own engine, in a process of its own without torch
pictures.py   real pictures for parity and self-test
standalone/   the runtime library of a model that needs no libtorch
kernels/      the convolutions of such a model
libraries.py  the files of an engine that an image needs
faults.py     an exception as one line
progress.py   one line for each long step
__main__.py   `python -m model export` and `show`
"""
