"""Kernels called like functions, and the object that ``lower`` gives."""
