"""A version as one offline HTML file that predicts in the browser."""
