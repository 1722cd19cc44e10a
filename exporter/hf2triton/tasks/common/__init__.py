"""What several tasks are made of: tolerances, questions, schemas of answers, arguments."""
