"""Studies and their trials: what runs them, resumes them and reads what came out."""
