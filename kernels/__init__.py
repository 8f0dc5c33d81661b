"""Pure functions on arrays: the loops. Installed as `minigrad.kernels`.

A kernel takes NumPy (or CuPy) arrays and frozen parameters and returns arrays; it knows nothing of
Tensors or gradients. Each family is a folder with a table of algorithms in its `__init__.py` and a
`reference.py` of plain loops which every other row is tested against.
"""
