"""Ways to make programs cheaper under XLA, one in each file.

`runtime` has compiler options and settings of jax, `serial` orders kernels, `packing` packs narrow arrays,
`descend` updates parameters, `threefry` draws random numbers, `parts` divides a lane among devices,
`products` measures matrix products.
"""
