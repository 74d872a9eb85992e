"""From a PyTorch model to an artifact that the service can run.

artifact.py   what an artifact is; the only file here that the service imports
catalog.py    names -> modules: the default model, torchvision's, one's own
export.py     the way of one export: module -> candidates -> parity -> measurement -> artifact
lower.py      module -> compiled library (AOTInductor) or graph (ONNX)
padding.py    a graph rewrite: zero padding becomes part of the convolution behind it
measure.py    runs the service's own engine, in a process of its own without torch
pictures.py   real pictures for parity and self-test
__main__.py   `python -m model export` and `show`
"""
