"""A plug-in with one kind of each: kernel regression, median absolute error, Arrow files, tables of scikit-learn."""
