"""A version as one offline HTML file that predicts by itself."""
