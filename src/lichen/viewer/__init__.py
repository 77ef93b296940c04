"""The codec in a browser: the page that web/ builds, what it fetches, and a server of both on this machine.

May import coding, image.files and runtime.
"""
