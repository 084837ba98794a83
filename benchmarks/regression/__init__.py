"""A simulation of the regression rules on seeded noise, beside the rules of public tools."""
