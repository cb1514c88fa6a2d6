"""How much accuracy each layer loses by a technique, and the recipe that follows."""
