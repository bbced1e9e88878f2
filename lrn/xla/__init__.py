"""Habits of XLA, one idea a file: compiler options, order of kernels, packing, random numbers, parts."""
