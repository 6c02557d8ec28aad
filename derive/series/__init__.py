"""Series in rooted trees: order, local error, composition and modified equations of one-step schemes."""
