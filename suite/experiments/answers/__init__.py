"""A module for each experiment that turns what was measured into a sentence, a picture and the evidence."""
