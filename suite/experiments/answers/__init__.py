"""The answers, a module for each experiment: from what was measured to a sentence, a picture and its evidence."""
