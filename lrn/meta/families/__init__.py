"""Families of tasks, one a file; each is a `lrn.meta.episode.TaskFamily`."""
