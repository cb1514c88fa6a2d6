"""Files and folders that are there in full or not at all, their hashes, and the cache folder.

Everything that the package writes goes through this room, so that a kill leaves the old version
or the new one and never half of either.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
