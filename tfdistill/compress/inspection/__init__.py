"""Weight statistics of models and files, and the check of what a recipe guarantees."""
