"""Feature distillation: pairs of layers of teacher and student, and their losses."""
