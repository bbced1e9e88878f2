"""Families of tasks; each file has a function that makes a `lrn.meta.episode.TaskFamily`."""
