"""Checks of public arguments, which all refuse in the same words.

The form is "`{argument}` must be {constraint}. Received: {argument}={value!r}. {What to do.}":
`TypeError` if the type is wrong, `ValueError` if the value is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
