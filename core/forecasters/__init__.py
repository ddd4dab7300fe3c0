"""Convert a student to standalone forecasters: modules, ONNX files, ``torch.export`` programs.

Does not write files.
"""
