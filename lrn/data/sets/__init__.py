"""The data sets: each file ``lrn/data/sets/<name>.py`` declares a ``SPEC``, which `load` finds by name."""
