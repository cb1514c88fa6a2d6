"""Games with known answers, which hold the learners to the literature."""
