"""Weight clustering: few distinct values for each weight."""
