"""The shipped schemes: in each file, functions or partial functions by the schemes' ids that build one table each."""
