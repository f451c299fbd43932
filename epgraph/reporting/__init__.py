"""``epgraph report``: finished and unfinished runs as one page that a colleague can read.

``runs`` reads the run folders, ``parts/`` has a file for each section, which yields ``blocks``; ``page`` and
``markdown`` write blocks as HTML and as Markdown; ``pictures`` and ``themed`` make figures for both.
"""
