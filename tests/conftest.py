"""What holds for all tests: the garbage collector passes over the imported modules and caches less often."""

import gc

YOUNG = 20_000  # objects between two passes; derivations make millions that live on, and each pass looks at them again


def pytest_configure():
    gc.set_threshold(YOUNG, 20, 20)


def pytest_collection_finish():
    """What the imports made stays for good."""
    gc.collect()
    gc.freeze()
