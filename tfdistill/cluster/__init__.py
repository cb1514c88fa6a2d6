"""The Ray session, and how folders travel to the machines of a cluster.

Ray is imported when a function of this room is first called.
"""
