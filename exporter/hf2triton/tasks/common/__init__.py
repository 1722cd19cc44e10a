"""Parts that several tasks share: tolerances, questions, answer schemas, arguments."""
