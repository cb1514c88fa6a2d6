"""The parts of `distill_text`: rows and tasks, teacher and copies, students, rivals, the proof."""
