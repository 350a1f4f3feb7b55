"""Show a study: summary and analysis; in the terminal, as HTML or Markdown, on a dashboard."""
