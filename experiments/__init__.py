"""The studies: ``experiments/<area>/<study>.py``, found by their files."""
