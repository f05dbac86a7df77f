"""Networks of dense tasks: a backbone without its classifier, necks and heads."""
