"""The built-in data sets: a family a file, each with a table ``DATA_SETS``. ``data.registry`` finds all of them."""
