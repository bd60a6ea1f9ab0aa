"""A report of an evaluation: checked content, Markdown, figures."""
