"""lrn: research notes as running science.

Importing ``lrn`` imports nothing else: each module is imported by its own name
(``from lrn import train``, ``from lrn.robust import pgd``), so that the command
line can list and describe studies without paying for jax.
"""

__version__ = "0.1.0"
