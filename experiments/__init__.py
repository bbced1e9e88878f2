"""The studies, one in each file ``experiments/<area>/<study>.py``; `lrn.study.discover` finds the files."""
