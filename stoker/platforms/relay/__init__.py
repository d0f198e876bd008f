"""The Platform seam over a socket: the processes of one Stoker see one world.

The process that has the platform (the parent) relays what it announces to its workers and
takes back what they say of it. See docs/workers.md.
"""
