"""Bytes <-> fields: varints, the header, sections with checksums, the container of a `.lic` file.

May import errors, and nothing else of the package or of others.
"""
