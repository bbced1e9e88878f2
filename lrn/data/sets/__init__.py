"""The data sets, one file each: ``lrn/data/sets/<name>.py`` declares ``SPEC`` and is found by its name."""
